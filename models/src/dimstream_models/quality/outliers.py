"""Pixels that are far brighter than their surroundings: hot pixels, cosmic rays, specks.

A network turns such a pixel into a large spot. The spot then dominates the scale of everything else: dim
structures, SSIM, and what counts as predicted structure. So these pixels are replaced before the network.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array, Float64

TIMES: Final = 50.0
"""A pixel above this many times (its surroundings + 1 photon) is no image: even a single emitter lights its
neighbours to a quarter. Faint structure narrower than a pixel stays far below."""
NEIGHBOURS: Final = np.array([0, 1, 2, 3, 5, 6, 7, 8])
"""Indices of a 3x3 window without its middle."""

Places = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Rows and columns."""


def has_outlier(photons: Array) -> bool:
    """Whether a pixel of a frame (H, W) is much brighter than its eight neighbours.

    It is if it exceeds `TIMES` (their lower median + 1 photon). At the border it has five or three
    neighbours. Up to four adjacent outliers are found, at the border up to two.
    """
    (rows, _), _ = _outliers(photons)
    return bool(rows.size)


def without_outliers(photons: Array) -> Array:
    """Return a frame (H, W) in which each outlier has the lower median of its neighbours.

    A frame without outliers is returned unchanged; otherwise the result is a copy of the same type.
    """
    places, medians = _outliers(photons)
    if not medians.size:
        return photons
    replaced = photons.copy()
    replaced[places] = medians.astype(photons.dtype)
    return replaced


def _outliers(photons: Array) -> tuple[Places, Float64]:
    """Return the outliers' places, and the lower medians of their neighbours, (n,)."""
    none = np.empty(0, np.intp)
    # Most frames are too dark to have one; their largest value alone shows this.
    if photons.size < 2 or not (brightest := photons.max()) > TIMES:
        return (none, none), np.empty(0)
    if not brightest > TIMES * (max(float(photons.min()), 0.0) + 1):
        return (none, none), np.empty(0)
    least = np.maximum(_least_around(photons), 0, dtype=np.float32)
    far_above = photons > np.float32(TIMES) * (least + np.float32(1))
    if not far_above.any():
        return (none, none), np.empty(0)
    rows, columns = np.nonzero(far_above)  # contains all outliers and few others
    medians = _lower_medians(photons, rows, columns)
    beyond = photons[rows, columns] > TIMES * (np.maximum(medians, 0) + 1)
    return (rows[beyond], columns[beyond]), medians[beyond]


def _least_around(photons: Array) -> Array:
    """Return the least value of each pixel and its neighbours, (H, W)."""
    along = photons.copy()
    np.minimum(along[:, 1:], photons[:, :-1], out=along[:, 1:])
    np.minimum(along[:, :-1], photons[:, 1:], out=along[:, :-1])
    least = along.copy()
    np.minimum(least[1:], along[:-1], out=least[1:])
    np.minimum(least[:-1], along[1:], out=least[:-1])
    return least


def _lower_medians(photons: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Float64:
    """Return the lower median of each given pixel's neighbours inside the frame, (n,)."""
    around = np.arange(-1, 2)
    near_rows = rows[:, None, None] + around[:, None]  # (N, 3, 1)
    near_columns = columns[:, None, None] + around  # (N, 1, 3)
    height, width = photons.shape
    inside = (near_rows >= 0) & (near_rows < height) & (near_columns >= 0) & (near_columns < width)
    values = photons[near_rows.clip(0, height - 1), near_columns.clip(0, width - 1)].astype(np.float64)
    values[~inside] = np.inf
    neighbours = np.sort(values.reshape(-1, 9)[:, NEIGHBOURS], axis=1)
    counted = inside.reshape(-1, 9)[:, NEIGHBOURS].sum(axis=1)
    return np.asarray(neighbours[np.arange(len(rows)), (counted - 1) // 2])
