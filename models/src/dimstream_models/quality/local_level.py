"""The light around each pixel of an image, and the structure that rises above it.

Stray light, out-of-focus light and shading change over many pixels, structure over few. So the level around a
pixel is a plane, fitted to the pixels without structure in a window of 40 px (local linear regression,
Cleveland 1979, doi 10.1080/01621459.1979.10481038, here on cells of 8 px). A plane follows a gradient up to
the border of the frame, where a mean would be biased.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array, Float64

CELL_PX: Final = 8
CELLS: Final = 5
"""Side of the window, cells."""
SLOPE_PENALTY: Final = 0.05
"""Penalty on slopes, as a share of the variance of positions in a whole window. It flattens slopes that are
based on few cells."""
STEEPNESS: Final = SLOPE_PENALTY * (CELLS**2 - 1) / 12
"""The same penalty, in cells squared."""
DEVIATIONS: Final = 2.0
"""Structure rises above the level around it by at least this many mean absolute deviations of the frame."""
RESOLUTION: Final = 1e-5
"""Smallest rise that is no rounding error, as a share of the image's mean absolute value."""
TINY: Final = 1e-6

OFFSETS: Final = np.arange(CELLS) - CELLS // 2
ONES: Final = np.ones(CELLS)
OF_PLACES: Final = np.stack(
    [
        np.outer(ONES, ONES),
        np.outer(OFFSETS, ONES),
        np.outer(ONES, OFFSETS),
        np.outer(OFFSETS**2, ONES),
        np.outer(ONES, OFFSETS**2),
        np.outer(OFFSETS, OFFSETS),
    ]
)
"""(6, CELLS, CELLS): weights of a window's cells: 1, y, x, yy, xx, xy."""
OF_VALUES: Final = OF_PLACES[:3]


def local_level(values: Array, counted: NDArray[np.bool_]) -> Float64:
    """Level of the light around each pixel of an image.

    Parameters
    ----------
    values
        (H, W), in any unit.
    counted
        (H, W), the pixels that are used.

    Returns
    -------
    (H, W) float64
    """
    weights = counted.astype(np.float64)
    places = _moments(cell_means(weights, CELL_PX), OF_PLACES)
    sums = _moments(cell_means(weights * values, CELL_PX), OF_VALUES)
    known = np.maximum(places[0], TINY)
    y, x, yy, xx, xy = places[1:] / known
    mean, of_y, of_x = sums / known
    of_y, of_x = of_y - y * mean, of_x - x * mean
    yy, xx, xy = yy - y * y + STEEPNESS, xx - x * x + STEEPNESS, xy - x * y
    determinant = yy * xx - xy * xy
    slope_y = (of_y * xx - of_x * xy) / determinant
    slope_x = (of_x * yy - of_y * xy) / determinant
    return _enlarged(mean - slope_y * y - slope_x * x, values.shape)


def predicted_structure(prediction: Array) -> Float64:
    """How far a prediction rises above the level around it where it shows structure; 0 elsewhere.

    Parameters
    ----------
    prediction
        (H, W), in any unit.

    Returns
    -------
    (H, W) float64
    """
    values = prediction.astype(np.float64)
    rise = values - local_level(values, np.ones(values.shape, bool))
    rise = values - local_level(values, rise < np.abs(rise).mean())
    least = max(DEVIATIONS * float(np.abs(rise).mean()), RESOLUTION * float(np.abs(values).mean()))
    return np.where(rise > least, rise, 0.0)


def cell_means(values: Array, side: int) -> Float64:
    """Means of cells of `side` px; outside the frame, values are 0.

    Returns
    -------
    (ceil(H / side), ceil(W / side)) float64
    """
    height, width = values.shape
    whole = np.pad(values.astype(np.float64), ((0, -height % side), (0, -width % side)))
    rows, columns = whole.shape
    return np.asarray(whole.reshape(rows // side, side, columns // side, side).mean(axis=(1, 3)))


def _moments(cells: Float64, weights: Float64) -> Float64:
    """Return weighted sums over the windows around all cells, with n sets of weights: (n, h, w)."""
    windows = sliding_window_view(np.pad(cells, CELLS // 2), (CELLS, CELLS))
    return np.asarray(np.tensordot(weights, windows, axes=((1, 2), (2, 3))))


def _enlarged(cells: Float64, shape: tuple[int, ...]) -> Float64:
    """Return the cells' values, (H, W), interpolated linearly between their centres."""
    rows, columns = (_interpolation(many, side) for many, side in zip(cells.shape, shape, strict=True))
    return np.asarray(rows @ cells @ columns.T)


def _interpolation(cells: int, pixels: int) -> Float64:
    """Return the linear weights of the cells at each pixel, (pixels, cells)."""
    places = np.clip((np.arange(pixels) + 0.5) / CELL_PX - 0.5, 0, cells - 1)
    return np.asarray(np.maximum(1 - np.abs(places[:, None] - np.arange(cells)), 0))
