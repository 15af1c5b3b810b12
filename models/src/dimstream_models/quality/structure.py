"""Whether a raw frame shows structure: the correlation of neighbouring pixels, compared with that of noise.

The microscope blurs light before it is counted. So real structure is at least as wide as the point spread
function, and neighbouring pixels share it. Photon noise, dark counts, read noise and fixed patterns of single
pixels do not reach into their neighbours. So the sum of products of neighbouring pixels, in units of its
standard error without structure, distinguishes an image from noise of any kind and brightness. No network
takes part. (Moran's I, Moran 1950, doi 10.1093/biomet/37.1-2.17, with weights that omit neighbours in the
same row or column of the detector.)
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dimstream_models.arithmetic import Array, Float64

DETAIL_PX: Final = 25
"""Side of the window whose mean is subtracted, px. Stray light and shading are wider."""
CLIP_ROUNDS: Final = 4
CLIP_DEVIATIONS: Final = 3.0
"""Sigma clipping: a hot pixel or a speck then counts no more than the brightest ordinary pixel."""
REACH_PX: Final = 2
NEIGHBOURS: Final = (1.0, 1.0, 0.0, 1.0, 1.0)
"""Weights along each axis: neighbours up to 2 px away, except those in the same row or column. In a scanning
detector, these are correlated by after-pulsing, read-out and flicker."""
BLOCK_PX: Final = 4
PAIRS_PER_AXIS: Final = 4.0
LOST_AT_BORDERS: Final = 6.0
"""Neighbours of a pixel along one axis, and how many of these fall outside the frame, summed along that axis.
"""


def _bias() -> float:
    """Correlation of two neighbours of white noise that arises when their windows' means are subtracted."""
    area = DETAIL_PX**2
    shared = np.mean([DETAIL_PX - lag for lag in range(1, REACH_PX + 1)]) / DETAIL_PX
    return float((2 - shared**2) / area)


BIAS: Final = _bias()


def structure_score(counts: Array) -> float:
    """Structure of a raw frame, in standard errors above that of noise alone.

    It is 0 +- 1 for any frame of noise that is independent from pixel to pixel. It is 10 or more for a
    600x600 px frame with one photon per pixel on the tubules, and grows with the side of the frame. Two
    adjacent photons count at most one standard error: in a frame with very few photons, some are adjacent by
    chance.

    Parameters
    ----------
    counts
        (H, W), photon counts or camera values; they may be fractions.
    """
    detail = _detail(sigma_clipped(counts.astype(np.float64)))
    squares = detail * detail
    pairs = float(np.prod([PAIRS_PER_AXIS - LOST_AT_BORDERS / side for side in counts.shape]))
    products = float((detail * _neighbours(detail)).sum()) + BIAS * pairs * float(squares.sum())
    chance = 2 * pairs * detail.size * _product_of_near(squares)
    coincidence = 2 * float(squares.max())
    return products / max(math.sqrt(chance + coincidence**2), 1e-12)


def sigma_clipped(values: Float64) -> Float64:
    """Return values (H, W), in their own unit, clipped at `CLIP_DEVIATIONS` standard deviations above their
    mean.

    This is repeated `CLIP_ROUNDS` times, each time with mean and deviation of the clipped values.
    """
    cap = float(values.max())
    for _ in range(CLIP_ROUNDS):
        held = np.minimum(values, cap)
        cap = min(cap, float(held.mean() + CLIP_DEVIATIONS * held.std()))
    return np.minimum(values, cap)


def _detail(values: Float64) -> Float64:
    """Subtract from values (H, W) the mean of their window inside the frame, then the means of rows and
    columns."""
    ones = np.ones_like(values)
    near = values - _window_sum(values, DETAIL_PX) / _window_sum(ones, DETAIL_PX)
    even = near - near.mean(axis=1, keepdims=True)
    return np.asarray(even - even.mean(axis=0, keepdims=True))


def _window_sum(values: Float64, side: int) -> Float64:
    reach = side // 2
    padded = np.pad(values, reach)
    rows = sliding_window_view(padded, side, axis=0).sum(axis=-1)
    return np.asarray(sliding_window_view(rows, side, axis=1).sum(axis=-1))


def _product_of_near(squares: Float64) -> float:
    """Mean product of the squares of two different pixels in the same whole block of `BLOCK_PX`.

    Pixels of the same block, because noise is stronger where there is more light.
    """
    height, width = (side - side % BLOCK_PX for side in squares.shape)
    whole = squares[:height, :width]
    blocks = whole.reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
    of_blocks = float((blocks.sum(axis=(1, 3)) ** 2).mean())
    with_itself = BLOCK_PX**2 * float((whole * whole).mean())
    return max(of_blocks - with_itself, 0.0) / (BLOCK_PX**2 * (BLOCK_PX**2 - 1))


def _neighbours(values: Float64) -> Float64:
    """Sum of each pixel's neighbours inside the frame, (H, W)."""
    weights = np.asarray(NEIGHBOURS)
    padded = np.pad(values, REACH_PX)
    rows = sliding_window_view(padded, len(weights), axis=0) @ weights
    return np.asarray(sliding_window_view(rows, len(weights), axis=1) @ weights)
