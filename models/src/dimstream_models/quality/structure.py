"""Whether a raw frame shows anything: the correlation of its neighbouring pixels, against that of noise.

Light passes the microscope before it is counted, so real structure is at least as wide as the point spread
function and neighbouring pixels share it. Photon noise, dark counts, read noise and fixed patterns of
single pixels do not reach into their neighbours. So the sum of products of neighbouring pixels, in units
of its standard error without structure, tells an image from noise of any kind and brightness; no network
takes part. (Moran's I, Moran 1950, doi 10.1093/biomet/37.1-2.17, with weights that pass over a detector's
rows and columns.)
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dimstream_models.arithmetic import Array, Float64

DETAIL_PX: Final = 25
"""Side of the window whose mean is subtracted, px: stray light and shading are wider than that."""
CLIP_ROUNDS: Final = 4
CLIP_DEVIATIONS: Final = 3.0
"""Sigma clipping: so that a hot pixel or a speck counts no more than the brightest ordinary one."""
REACH_PX: Final = 2
NEIGHBOURS: Final = (1.0, 1.0, 0.0, 1.0, 1.0)
"""Along both axes: neighbours up to 2 px away, without those of the same row or column, which a scanning
detector ties together by after-pulsing, read-out and flicker."""
BLOCK_PX: Final = 4
PAIRS_PER_AXIS: Final = 4.0
LOST_AT_BORDERS: Final = 6.0
"""Neighbours along one axis, and how many of all are outside the frame."""


def _bias() -> float:
    """Correlation of two neighbours that subtracting their windows' means makes of white noise."""
    area = DETAIL_PX**2
    shared = np.mean([DETAIL_PX - lag for lag in range(1, REACH_PX + 1)]) / DETAIL_PX
    return float((2 - shared**2) / area)


BIAS: Final = _bias()


def structure_score(counts: Array) -> float:
    """Structure of a raw frame, in standard errors above that of noise alone.

    About 0, give or take 1, for any frame of noise that is independent from pixel to pixel; 10 and more for a
    600x600 frame with a photon on each tubule's pixel. It grows with the side of the frame. Two photons that
    touch are one standard error at most: in a frame with hardly any, chance alone brings some together.

    Parameters
    ----------
    counts
        (H, W), photon counts or camera values; need not be whole.
    """
    detail = _detail(sigma_clipped(counts.astype(np.float64)))
    squares = detail * detail
    pairs = float(np.prod([PAIRS_PER_AXIS - LOST_AT_BORDERS / side for side in counts.shape]))
    products = float((detail * _neighbours(detail)).sum()) + BIAS * pairs * float(squares.sum())
    chance = 2 * pairs * detail.size * _product_of_near(squares)
    coincidence = 2 * float(squares.max())
    return products / max(math.sqrt(chance + coincidence**2), 1e-12)


def sigma_clipped(values: Float64) -> Float64:
    """Return (H, W) values in their own unit, none further above the mean than `CLIP_DEVIATIONS`.

    Mean and deviation are taken `CLIP_ROUNDS` times, each time of the clipped values.
    """
    cap = float(values.max())
    for _ in range(CLIP_ROUNDS):
        held = np.minimum(values, cap)
        cap = min(cap, float(held.mean() + CLIP_DEVIATIONS * held.std()))
    return np.minimum(values, cap)


def _detail(values: Float64) -> Float64:
    """Values less the mean of what lies around them and inside the frame, then less their rows' and
    columns'."""
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
    """Mean product of the squares of two different pixels of the same `BLOCK_PX` block, of whole blocks.

    Near and not over the whole frame: noise is stronger where there is more light.
    """
    height, width = (side - side % BLOCK_PX for side in squares.shape)
    whole = squares[:height, :width]
    blocks = whole.reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
    of_blocks = float((blocks.sum(axis=(1, 3)) ** 2).mean())
    with_itself = BLOCK_PX**2 * float((whole * whole).mean())
    return max(of_blocks - with_itself, 0.0) / (BLOCK_PX**2 * (BLOCK_PX**2 - 1))


def _neighbours(values: Float64) -> Float64:
    """Sum of each pixel's neighbours that lie inside the frame."""
    weights = np.asarray(NEIGHBOURS)
    padded = np.pad(values, REACH_PX)
    rows = sliding_window_view(padded, len(weights), axis=0) @ weights
    return np.asarray(sliding_window_view(rows, len(weights), axis=1) @ weights)
