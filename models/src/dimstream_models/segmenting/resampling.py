"""Resampling of images to another pixel size."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SAME: Final = 0.05
"""Pixel sizes that differ by less than this share count as equal."""


def shape_on(shape: tuple[int, int], pixel_nm: float | None, wanted_nm: float | None) -> tuple[int, int]:
    """Return the height and width, px, of an image (H, W) on pixels of another size.

    The shape is unchanged if one of the sizes is unknown, or they are equal within 5 %.
    """
    if pixel_nm is None or wanted_nm is None or abs(pixel_nm / wanted_nm - 1) < SAME:
        return shape
    height, width = (max(1, round(side * pixel_nm / wanted_nm)) for side in shape)
    return height, width


def resampled(image: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return an image (H, W) on the pixels of `shape` that cover the same field, (h, w) float32.

    Interpolation is linear; details that larger pixels cannot show are smoothed first.
    """
    values = image.astype(np.float32)
    if image.shape == shape:
        return values
    factors = [to / came for to, came in zip(shape, image.shape, strict=True)]
    sigma = [max(0.0, (1 / factor - 1) / 2) for factor in factors]
    if any(sigma):
        values = ndimage.gaussian_filter(values, sigma, mode="nearest")
    zoomed = ndimage.zoom(values, factors, order=1, mode="nearest", grid_mode=True)
    return np.asarray(zoomed, np.float32)
