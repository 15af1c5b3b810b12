"""Labelled frames of a seed, drawn once on every core and stored, so that a stopped fit can use them
again."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dimstream_models.bundle import read_bundle
from dimstream_models.training.evaluation.restoring import Restore, restorer
from dimstream_models.training.segmentation.labelled_frames import (
    SIDE_PX,
    Purpose,
    frame_generator,
    labelled_frames,
)
from dimstream_models.whole_files import write_whole
from dimstream_models.worker_processes import worker_pool

PART_SCENES: Final = 8
_LEAST_DEVIATION: Final = 1e-6


@dataclass(frozen=True, eq=False)
class FrameLibrary:
    """Frames, (N, H, W) float16, each with mean 0 and variance 1, and their classes, (N, H, W) uint8."""

    images: NDArray[np.float16]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class _Part:
    """Some scenes of a library, stored in one file."""

    denoiser: Path
    seed: int
    purpose: Purpose
    start: int
    stop: int
    side_px: int
    file: Path


def normalised(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image (H, W) with mean 0 and variance 1, as the bundle's `zero_mean_unit_variance`."""
    deviation = float(image.std())
    return np.asarray((image - image.mean()) / (deviation + _LEAST_DEVIATION), np.float32)


def frame_library(
    folder: Path, denoiser: Path, *, seed: int, purpose: Purpose, scenes: int, side_px: int = SIDE_PX
) -> FrameLibrary:
    """Return the frames of some scenes, including those that a stopped call stored in the folder.

    Parameters
    ----------
    denoiser : Path
        Bundle that denoises frames.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        _Part(
            denoiser,
            seed,
            purpose,
            start,
            min(start + PART_SCENES, scenes),
            side_px,
            folder / f"{purpose}-{start:05}.npz",
        )
        for start in range(0, scenes, PART_SCENES)
    ]
    missing = [part for part in parts if not part.file.is_file()]
    with tqdm(
        total=len(parts), initial=len(parts) - len(missing), desc=f"{purpose} frames", unit="part"
    ) as bar:
        if len(missing) < 2:
            for part in missing:
                _draw(part)
                bar.update()
        else:
            with worker_pool() as pool:
                for _ in pool.map(_draw, missing):
                    bar.update()
    kept = [_read(part.file) for part in parts]
    return FrameLibrary(
        np.concatenate([each[0] for each in kept]), np.concatenate([each[1] for each in kept])
    )


def _draw(part: _Part) -> None:
    restore: Restore = restorer(read_bundle(part.denoiser))
    frames = [
        frame
        for index in range(part.start, part.stop)
        for frame in labelled_frames(frame_generator(part.seed, part.purpose, index), restore, part.side_px)
    ]
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        images=np.stack([normalised(frame.image).astype(np.float16) for frame in frames]),
        labels=np.stack([frame.labels for frame in frames]),
    )
    write_whole(part.file, buffer.getvalue())


def _read(file: Path) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    with np.load(file, allow_pickle=False) as kept:
        return kept["images"], kept["labels"]
