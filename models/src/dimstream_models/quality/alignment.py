"""How far the sample moved between two frames, and whether both show the same one: from small overviews of
their predictions."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from dimstream_models.arithmetic import Array, Float32, Float64

OVERVIEW_PX: Final = 4
"""Side of the squares that one pixel of an overview averages, px."""
OVERVIEW_LIMIT: Final = 10.0
"""Normalised predictions are held within this, so that no speck decides alone."""
FARTHEST: Final = 0.25
"""Of a side: no larger shift is looked for, for less would overlap than is certain."""
SMALLEST_SIDE: Final = 8
"""Of an overview: smaller ones tell neither shift nor correlation."""
LOCAL_SIDE: Final = 7
"""Side of the window whose mean is taken off before overviews are correlated, in pixels of an overview: what
is wider (the cell's outline, stray light) two fields may share."""

Shift = tuple[int, int]
"""Rows and columns, px: where the sample of the frame before is found now."""


def overview(normalised: Array) -> Float32:
    """(H // 4, W // 4) float32: means of 4x4 px of a normalised prediction (H, W)."""
    height, width = (side // OVERVIEW_PX for side in normalised.shape)
    held = np.clip(normalised[: height * OVERVIEW_PX, : width * OVERVIEW_PX], -OVERVIEW_LIMIT, OVERVIEW_LIMIT)
    blocks = held.astype(np.float64).reshape(height, OVERVIEW_PX, width, OVERVIEW_PX)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def shift_between(before: Array, after: Array) -> Shift:
    """Shift in whole px that brings the sample of `before` to its place in `after`.

    The peak of the cross-correlation of both overviews, mean removed and Hann-windowed, with a parabola
    through its neighbours; (0, 0) where the overviews are too small to tell.

    Parameters
    ----------
    before, after
        Overviews of one shape.
    """
    if min(before.shape) < SMALLEST_SIDE:
        return 0, 0
    correlation = _correlation(before, after)
    rows, columns = (max(int(side * FARTHEST), 1) for side in before.shape)
    near = np.roll(correlation, (rows, columns), (0, 1))[: 2 * rows + 1, : 2 * columns + 1]
    peak = np.unravel_index(int(near.argmax()), near.shape)
    found = (
        (int(peak[0]) - rows + _vertex(near[:, peak[1]], int(peak[0]))) * OVERVIEW_PX,
        (int(peak[1]) - columns + _vertex(near[peak[0]], int(peak[1]))) * OVERVIEW_PX,
    )
    return round(found[0]), round(found[1])


def correlation_between(before: Array, after: Array, shift: Shift) -> float | None:
    """Pearson's correlation of two overviews of one shape, each less its local mean.

    The better one of both as they lie and with `shift` taken out. Near 1 for the same structures; near 0 for
    other ones however alike their kind, and for what a network invents; None where they are too small.

    Parameters
    ----------
    before, after
        (H // 4, W // 4), from `overview`.
    shift
        From `shift_between`, px of the frames.
    """
    if min(before.shape) < SMALLEST_SIDE:
        return None
    old, new = _without_local_mean(before), _without_local_mean(after)
    moved = round(shift[0] / OVERVIEW_PX), round(shift[1] / OVERVIEW_PX)
    unmoved = _pearson(old, new)
    return unmoved if moved == (0, 0) else max(unmoved, _pearson(*overlap(old, new, moved)))


def overlap(before: Array, after: Array, shift: Shift) -> tuple[Array, Array]:
    """Parts of two frames (H, W) that show the same sample, once it has moved by `shift`."""
    ends = [_overlapping(side, moved) for side, moved in zip(before.shape, shift, strict=True)]
    (old_rows, new_rows), (old_columns, new_columns) = ends
    return before[old_rows, old_columns], after[new_rows, new_columns]


def _overlapping(side: int, moved: int) -> tuple[slice, slice]:
    return slice(max(-moved, 0), side - max(moved, 0)), slice(max(moved, 0), side - max(-moved, 0))


def _without_local_mean(image: Array) -> Float64:
    sums = np.pad(image.astype(np.float64), LOCAL_SIDE // 2, mode="edge")
    summed = np.cumsum(sums, axis=0)
    sums = summed[LOCAL_SIDE - 1 :].copy()
    sums[1:] -= summed[:-LOCAL_SIDE]
    summed = np.cumsum(sums, axis=1)
    sums = summed[:, LOCAL_SIDE - 1 :].copy()
    sums[:, 1:] -= summed[:, :-LOCAL_SIDE]
    sums /= LOCAL_SIDE**2
    return np.asarray(image - sums)


def _pearson(a: Array, b: Array) -> float:
    """0 where one of both is even."""
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / norm) if norm > 0 else 0.0


def _correlation(before: Array, after: Array) -> Float64:
    window = _hann(before.shape)
    old, new = (np.fft.rfft2((image - image.mean()) * window) for image in (before, after))
    return np.fft.irfft2(new * old.conj(), before.shape)


@lru_cache(maxsize=4)  # the streams of a server have few shapes
def _hann(shape: tuple[int, int]) -> Float64:
    window = np.outer(np.hanning(shape[0] + 2)[1:-1], np.hanning(shape[1] + 2)[1:-1])
    window.flags.writeable = False
    return window


def _vertex(values: Float64, place: int) -> float:
    """Place of the vertex of the parabola through a peak and its neighbours, from the peak; 0 at the edge."""
    if not 0 < place < len(values) - 1:
        return 0.0
    left, middle, right = (float(value) for value in values[place - 1 : place + 2])
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0
