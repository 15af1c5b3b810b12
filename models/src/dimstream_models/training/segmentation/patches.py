"""Patches of labelled frames with random changes: turns, sizes, light and contrast."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from dimstream_models.training.segmentation.frame_library import FrameLibrary

Rng = np.random.Generator
_SCALE: Final = (0.6, 1.6)  # of structures
_CONTRAST: Final = (0.7, 1.4)  # exponents
_GAIN: Final = (0.4, 1.8)
_OFFSET: Final = 0.25  # deviation
_STEP_STREAM: Final = 7


def patch_batch(
    library: FrameLibrary, *, seed: int, step: int, size: int, side_px: int
) -> tuple[Tensor, Tensor]:
    """Return the patches of a step, (B, 1, y, x) float32, and their classes, (B, y, x) int64.

    They depend only on the seed and the step, so that a resumed fit equals an uninterrupted one.
    """
    rng = np.random.default_rng((seed, _STEP_STREAM, step))
    drawn = [_patch(rng, library, side_px) for _ in range(size)]
    images = torch.from_numpy(np.stack([image for image, _ in drawn])[:, None])
    return images, torch.from_numpy(np.stack([labels for _, labels in drawn]).astype(np.int64))


def _patch(rng: Rng, library: FrameLibrary, side_px: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    number = int(rng.integers(len(library)))
    scale = float(np.exp(rng.uniform(*np.log(_SCALE)))) if rng.random() < 0.6 else 1.0
    height = library.images.shape[1]
    side = min(height, max(16, round(side_px / scale)))
    top, left = rng.integers(0, height - side + 1, 2)
    image = library.images[number, top : top + side, left : left + side].astype(np.float32)
    labels = library.labels[number, top : top + side, left : left + side]
    if side != side_px:
        image = ndimage.zoom(image, side_px / side, order=1, mode="nearest", grid_mode=True)
        labels = ndimage.zoom(labels, side_px / side, order=0, mode="nearest", grid_mode=True)
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if flip:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return np.ascontiguousarray(_changed(rng, image)), np.ascontiguousarray(labels)


def _changed(rng: Rng, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the image (H, W) with random contrast, uneven light, gain, offset and a little noise."""
    low, high = float(image.min()), float(image.max())
    values = (image - low) / max(high - low, 1e-6)
    if rng.random() < 0.5:
        values = values ** np.exp(rng.uniform(*np.log(_CONTRAST)))
    if rng.random() < 0.3:
        y, x = np.indices(image.shape) / image.shape[0] - 0.5
        angle = rng.uniform(0, 2 * np.pi)
        values = values * np.exp(rng.uniform(0, 1.2) * (y * np.sin(angle) + x * np.cos(angle)))
    changed = np.exp(rng.uniform(*np.log(_GAIN))) * (values * (high - low) + low) + rng.normal(0, _OFFSET)
    if rng.random() < 0.2:
        changed = changed + rng.uniform(0, 0.1) * rng.normal(size=image.shape)
    return np.asarray(changed, np.float32)
