"""Background subtraction by a rolling ball, equal to Fiji's *Subtract Background*.

The method is Sternberg's (1983, doi 10.1109/MC.1983.1654163). The steps are those of ImageJ's
`BackgroundSubtracter` (Castle, Keller and Schmid; public domain): a 3x3 mean, a shrunken image, a ball with
trimmed sides that rolls below it, and linear interpolation back. All of it is float32, as in ImageJ, so that
the results are equal.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.analysis.errors import InvalidImage

Float32 = NDArray[np.float32]
RADIUS_PX: Final = 15.0
"""The paper's radius, px (Methods, "Structural analysis of the ER")."""
_THIRD: Final = np.float32(0.33333333)
# up to this radius: factor by which the image is shrunk, and percent of the ball's radius that is trimmed
_SHRINKING: Final = ((10.0, 1, 24), (30.0, 2, 24), (100.0, 4, 32), (math.inf, 8, 40))


def subtract_background(
    image: NDArray[Any], *, radius_px: float = RADIUS_PX, smooth: bool = True
) -> NDArray[Any]:
    """Return the image minus its background, in its own type.

    Parameters
    ----------
    image : (H, W) uint8, uint16 or float32
        Bright structures on a dark background, in any unit. The ball's height has the same unit, as in Fiji:
        for values from 0 to 1, a ball of 15 px is nearly flat.
    radius_px : float
        Radius of the ball.
    smooth : bool
        Whether the background is taken from the image after a 3x3 mean (Fiji's *Disable Smoothing* not
        ticked).

    Returns
    -------
    (H, W) of the type of `image`
        Integers are rounded and never below 0; floats may be below 0.

    Raises
    ------
    InvalidImage
        When the image has another type, holds NaN or infinity, or is too small.
    """
    background = rolling_ball(image, radius_px=radius_px, smooth=smooth)
    if image.dtype == np.float32:
        return np.asarray(image - background)
    largest = np.float32(np.iinfo(image.dtype).max)
    left = image.astype(np.float32) - background + np.float32(0.5)
    return np.asarray(np.clip(left, np.float32(0), largest).astype(image.dtype))


def rolling_ball(image: NDArray[Any], *, radius_px: float = RADIUS_PX, smooth: bool = True) -> Float32:
    """Return the background of an image, (H, W) float32, in its unit; see `subtract_background`.

    Raises
    ------
    InvalidImage
        When the image has another type, holds NaN or infinity, or is too small.
    """
    factor, ball = _ball(radius_px)
    _check(image, factor)
    values = image.astype(np.float32)
    if smooth:
        values = _mean_of_three(_mean_of_three(values, axis=1), axis=0)
    if factor == 1:
        return _opened(values, ball)
    small = _opened(_shrunk(values, factor), ball)
    return _enlarged(small, values.shape, factor)


def _check(image: NDArray[Any], factor: int) -> None:
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16, np.float32):
        raise InvalidImage(
            f"expected an image (H, W) of uint8, uint16 or float32, got {image.shape} of {image.dtype}:"
            " convert it first"
        )
    if min(image.shape) <= factor:
        raise InvalidImage(f"expected sides of more than {factor} px for this radius, got {image.shape}")
    if image.dtype == np.float32 and not np.isfinite(image).all():
        raise InvalidImage("expected finite values, got NaN or infinity: replace them first")


def _ball(radius_px: float) -> tuple[int, Float32]:
    """Return the factor by which the image is shrunk, and the upper half of the ball on those pixels,
    (s, s)."""
    if not (math.isfinite(radius_px) and radius_px >= 1):
        raise InvalidImage(f"expected a radius of at least 1 px, got {radius_px}")
    factor, percent = next((by, cut) for most, by, cut in _SHRINKING if radius_px <= most)
    radius = max(radius_px / factor, 1.0)
    half = math.floor(radius - int(percent * radius) // 100 + 0.5)
    place = np.arange(-half, half + 1)
    height = radius**2 - place[:, None] ** 2 - place**2
    return factor, np.sqrt(np.maximum(height, 0)).astype(np.float32)


def _mean_of_three(values: Float32, *, axis: int) -> Float32:
    """Return the mean of each value and its two neighbours along an axis; the border is repeated."""
    wide = np.pad(values, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
    n = values.shape[axis]
    first, second, third = (wide.take(range(at, at + n), axis=axis) for at in range(3))
    return np.asarray((first + second + third) * _THIRD)


def _shrunk(values: Float32, factor: int) -> Float32:
    """Return the least value of each block of `factor` x `factor` pixels, (ceil(H / factor), ceil(W /
    factor))."""
    height, width = values.shape
    below, right = -height % factor, -width % factor
    whole = np.pad(values, ((0, below), (0, right)), constant_values=np.inf)
    blocks = whole.reshape(whole.shape[0] // factor, factor, whole.shape[1] // factor, factor)
    return np.asarray(blocks.min(axis=3).min(axis=1))


def _opened(values: Float32, ball: Float32) -> Float32:
    """Return the surface that the ball touches when it rolls below the values, (H, W).

    Its centre may be outside the image, where nothing stops it. Points of the ball with equal height are
    processed together: a ball of 15x15 px needs twice 225 comparisons, but only about 30 sums.
    """
    reach = len(ball) // 2
    height, width = values.shape
    wide = np.pad(values, 2 * reach, constant_values=np.inf)
    middles = (height + 2 * reach, width + 2 * reach)
    heights = np.full(middles, np.inf, np.float32)
    for up, places in _places(ball):
        _gather(heights, wide, places, -up, np.minimum)
    surface = np.full(values.shape, -np.inf, np.float32)
    for up, places in _places(ball):
        _gather(surface, heights, places, up, np.maximum)
    return surface


def _gather(
    into: Float32, source: Float32, places: list[tuple[int, int]], add: np.float32, choose: np.ufunc
) -> None:
    """Set each pixel of `into` to the least or greatest of itself and of `source` + `add` at these
    offsets."""
    height, width = into.shape
    (y, x), *others = places
    best = source[y : y + height, x : x + width].copy()
    for y, x in others:
        choose(best, source[y : y + height, x : x + width], out=best)
    best += add
    choose(into, best, out=into)


def _places(ball: Float32) -> list[tuple[np.float32, list[tuple[int, int]]]]:
    """Return the heights of the ball, each with the offsets that have it."""
    found = defaultdict(list)
    for place, up in np.ndenumerate(ball):
        found[up].append(place)
    return list(found.items())


def _enlarged(small: Float32, shape: tuple[int, int], factor: int) -> Float32:
    """Return an image of `shape` (H, W) by linear interpolation, with extrapolation at its borders."""
    rows, columns = (_between(side, n, factor) for side, n in zip(shape, small.shape, strict=True))
    at, weight = columns
    lines = small[:, at] * weight + small[:, at + 1] * (np.float32(1) - weight)
    at, weight = rows[0], rows[1][:, None]
    return np.asarray(lines[at] * weight + lines[at + 1] * (np.float32(1) - weight))


def _between(side: int, small_side: int, factor: int) -> tuple[NDArray[np.intp], Float32]:
    """Return for each pixel the small pixel before it, and that pixel's weight."""
    places = np.arange(side)
    at = np.clip((places - factor // 2) // factor, 0, small_side - 2)
    distance = (places + 0.5).astype(np.float32) / np.float32(factor) - (at + 0.5).astype(np.float32)
    return at, (np.float32(1) - distance).astype(np.float32)
