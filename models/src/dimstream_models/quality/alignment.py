"""How far the sample moved between two frames, and whether both frames show the same sample.

Both are measured on overviews: small copies of the predictions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array, Float32, Float64

OVERVIEW_PX: Final = 4
"""Side of the squares that one pixel of an overview averages, px."""
OVERVIEW_LIMIT: Final = 10.0
"""Normalised predictions are clipped at this value, so that a single speck does not decide."""
FARTHEST: Final = 0.25
"""Largest shift that is looked for, as a share of the side. Beyond it, the overlap is too small to be sure.
"""
SMALLEST_SIDE: Final = 8
"""Smallest side of an overview from which shift and correlation are measured."""
LOCAL_SIDE: Final = 7
"""Side of the window whose mean is subtracted before overviews are correlated, in pixels of an overview.
Wider features (the cell's outline, stray light) may be alike in different fields."""

Shift = tuple[int, int]
"""Rows and columns, px, by which the sample has moved since the frame before."""


@dataclass(frozen=True, eq=False)
class Overview:
    """A small copy of a prediction, and the values derived from it for comparisons.

    These values are calculated on first use and kept, because a frame takes part in two comparisons.

    Parameters
    ----------
    pixels
        (H // 4, W // 4) float: means of 4x4 px.
    """

    pixels: Array

    @classmethod
    def of(cls, normalised: Array) -> Self:
        """Return the overview of a normalised prediction (H, W)."""
        height, width = (side // OVERVIEW_PX for side in normalised.shape)
        whole = normalised[: height * OVERVIEW_PX, : width * OVERVIEW_PX]
        held = np.clip(whole, -OVERVIEW_LIMIT, OVERVIEW_LIMIT)
        blocks = held.astype(np.float64).reshape(height, OVERVIEW_PX, width, OVERVIEW_PX)
        return cls(np.asarray(blocks.mean(axis=(1, 3)), np.float32))

    @property
    def is_small(self) -> bool:
        """Whether it is too small to measure shift and correlation."""
        return bool(min(self.pixels.shape) < SMALLEST_SIDE)

    @cached_property
    def detail(self) -> Float32:
        """The overview minus its local mean, (H // 4, W // 4)."""
        return _without_local_mean(self.pixels)

    @cached_property
    def centred(self) -> Centred:
        """Its detail, centred at mean 0."""
        return Centred.of(self.detail)

    @cached_property
    def spectrum(self) -> NDArray[np.complex128]:
        """Fourier transform of the overview minus its mean, Hann-windowed, (H // 4, W // 8 + 1)."""
        pixels = self.pixels
        return np.fft.rfft2((pixels - pixels.mean()) * _hann((pixels.shape[0], pixels.shape[1])))


class Centred(NamedTuple):
    """Values (H, W) minus their mean, and the sum of their squares."""

    values: Float32
    squares: Any

    @classmethod
    def of(cls, image: Array) -> Self:
        """Return an image (H, W) minus its mean."""
        values = image - image.mean()
        return cls(values, (values * values).sum())


def shift_between(before: Overview, after: Overview) -> Shift:
    """Return the shift of the sample from `before` to `after`, in whole px of the frames.

    It is the peak of the cross-correlation of both overviews, mean removed and Hann-windowed, refined by a
    parabola through its neighbours. (0, 0) where the overviews are too small.

    Parameters
    ----------
    before, after
        Of one shape.
    """
    if before.is_small:
        return 0, 0
    shape = before.pixels.shape
    correlation = np.fft.irfft2(after.spectrum * before.spectrum.conj(), shape)
    rows, columns = (max(int(side * FARTHEST), 1) for side in shape)
    near = np.roll(correlation, (rows, columns), (0, 1))[: 2 * rows + 1, : 2 * columns + 1]
    peak = np.unravel_index(int(near.argmax()), near.shape)
    found = (
        (int(peak[0]) - rows + _vertex(near[:, peak[1]], int(peak[0]))) * OVERVIEW_PX,
        (int(peak[1]) - columns + _vertex(near[peak[0]], int(peak[1]))) * OVERVIEW_PX,
    )
    return round(found[0]), round(found[1])


def correlation_between(before: Overview, after: Overview, shift: Shift) -> float | None:
    """Pearson's correlation of two overviews of one shape, each minus its local mean, -1 to 1.

    The larger of two values: without alignment, and aligned by `shift`. It is near 1 for the same structures.
    It is near 0 for different structures of the same kind, and for structures that a network invents. None
    where the overviews are too small.

    Parameters
    ----------
    before, after
        Overviews of one shape.
    shift
        From `shift_between`, px of the frames.
    """
    if before.is_small:
        return None
    moved = round(shift[0] / OVERVIEW_PX), round(shift[1] / OVERVIEW_PX)
    unmoved = _pearson(before.centred, after.centred)
    if moved == (0, 0):
        return unmoved
    old, new = overlap(before.detail, after.detail, moved)
    return max(unmoved, _pearson(Centred.of(old), Centred.of(new)))


def overlap(before: Array, after: Array, shift: Shift) -> tuple[Array, Array]:
    """Return the parts of two frames (H, W) that show the same sample when it has moved by `shift`."""
    ends = [_overlapping(side, moved) for side, moved in zip(before.shape, shift, strict=True)]
    (old_rows, new_rows), (old_columns, new_columns) = ends
    return before[old_rows, old_columns], after[new_rows, new_columns]


def _overlapping(side: int, moved: int) -> tuple[slice, slice]:
    return slice(max(-moved, 0), side - max(moved, 0)), slice(max(moved, 0), side - max(-moved, 0))


def _without_local_mean(image: Array) -> Float32:
    """Image minus the mean of the 7x7 px around each pixel; exactly 0 for a uniform image."""
    padded = _edge_padded(image - image[0, 0], LOCAL_SIDE // 2)
    means = _sums_of_seven(_sums_of_seven(padded).T).T
    means /= np.float32(LOCAL_SIDE**2)
    reach = LOCAL_SIDE // 2
    return np.subtract(padded[reach:-reach, reach:-reach], means, out=means)


def _sums_of_seven(image: Array) -> Float32:
    """Return sums of seven rows each, (H - 6, W); adding in pairs takes few passes and rounds little."""
    height = image.shape[0] - LOCAL_SIDE + 1
    pairs = image[:-1] + image[1:]
    sums: Float32 = pairs[:height] + pairs[2 : height + 2]
    sums += pairs[4 : height + 4]
    sums += image[LOCAL_SIDE - 1 :]
    return sums


def _edge_padded(image: Array, reach: int) -> Float32:
    """Image whose border pixels are repeated `reach` times; `numpy.pad` takes three times as long."""
    height, width = image.shape
    padded = np.empty((height + 2 * reach, width + 2 * reach), np.float32)
    inside = padded[reach : reach + height]
    inside[:, reach : reach + width] = image
    inside[:, :reach] = image[:, :1]
    inside[:, reach + width :] = image[:, -1:]
    padded[:reach], padded[reach + height :] = inside[0], inside[-1]
    return padded


def _pearson(a: Centred, b: Centred) -> float:
    """Pearson's correlation; 0 where one image is uniform."""
    norm = float(np.sqrt(a.squares * b.squares))
    return float((a.values * b.values).sum() / norm) if norm > 0 else 0.0


@lru_cache(maxsize=4)  # the streams of a server have few shapes
def _hann(shape: tuple[int, int]) -> Float64:
    window = np.outer(np.hanning(shape[0] + 2)[1:-1], np.hanning(shape[1] + 2)[1:-1])
    window.flags.writeable = False
    return window


def _vertex(values: Float64, place: int) -> float:
    """Distance from a peak to the vertex of the parabola through it and its neighbours; 0 at the edge."""
    if not 0 < place < len(values) - 1:
        return 0.0
    left, middle, right = (float(value) for value in values[place - 1 : place + 2])
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0
