"""Intensity along a line, and several such lines on one scale.

Source: the paper's figure 2K ("the intensities were normalized together as a single group").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from skimage.measure import profile_line

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics.images import Floats, Image, as_plane

BILINEAR: Final = 1
Point = tuple[float, float]


def line_profile(image: Image, start: Point, end: Point, *, width_px: int = 1) -> Floats:
    """Return the intensity from `start` to `end`, (N,), in steps of 1 px, including both ends.

    Parameters
    ----------
    image : (H, W)
    start, end : (row, column), px
        Inside the image; between pixels, values are interpolated bilinearly.
    width_px : int
        Pixels across the line that are averaged; beyond its edge, the image is mirrored.

    Raises
    ------
    CannotEvaluate
        When the image is not a plane of finite pixels, an end is outside, or the width is below 1 px.
    """
    pixels = as_plane(image)
    for point in (start, end):
        if not all(0 <= at <= side - 1 for at, side in zip(point, pixels.shape, strict=True)):
            raise CannotEvaluate(f"expected a line inside an image of {pixels.shape}, got an end at {point}")
    if width_px < 1:
        raise CannotEvaluate(f"expected a line at least 1 px wide, got {width_px}")
    return np.asarray(profile_line(pixels, start, end, linewidth=width_px, order=BILINEAR, mode="reflect"))


def normalise_together(profiles: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return profiles, each (N,), on one scale: 0 is the smallest value of all, 1 the largest.

    So noisy image, prediction and truth keep their proportions. All become 0 when all values are equal.

    Raises
    ------
    CannotEvaluate
        When there is nothing to normalise.
    """
    values = np.concatenate([np.zeros(0), *profiles.values()])
    if not values.size:
        raise CannotEvaluate("expected at least one profile with values, got none")
    lowest, span = values.min(), np.ptp(values) or 1.0
    return {name: np.asarray((profile - lowest) / span) for name, profile in profiles.items()}
