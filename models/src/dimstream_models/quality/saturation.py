"""Whether a frame contains saturated pixels."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array

FEWEST_PIXELS: Final = 20
"""Fewest pixels at the maximum that count as saturation; fewer may be there by chance."""
PILED_UP: Final = 0.5
"""Share of the brightest pixels that are exactly at the maximum. Ordinary counts thin out towards it."""
NEAR: Final = 0.5
"""The brightest pixels are those no further below the maximum than this many of its square roots, and at
least one count."""


def shares_at_maximum(counts: Array) -> tuple[float, float]:
    """Return the shares (0 to 1) of pixels at the frame's maximum, and near it (see `NEAR`).

    `counts` is (H, W), photon counts.
    """
    maximum = float(counts.max())
    near = maximum - max(NEAR * np.sqrt(max(maximum, 0.0)), 1.0)
    return _share(counts == maximum), _share(counts >= near)


def clipped_share(denoised: Array, ceiling: float | None) -> float:
    """Share of the denoised pixels that have the largest value possible, 0 to 1.

    Parameters
    ----------
    denoised
        (H, W), as it is delivered.
    ceiling
        The largest value possible; None when there is no bound.
    """
    if ceiling is None:
        return 0.0
    # numpy would convert integers to floats to compare them with a float.
    least = math.ceil(ceiling) if denoised.dtype.kind == "u" else ceiling
    return _share(denoised >= least) if denoised.max() >= least else 0.0


def saturated_share(
    *, maximum: float, at_maximum: float, near_maximum: float, pixels: int, ceiling: float | None
) -> float:
    """Share of saturated pixels, 0 to 1; 0 when the brightest pixels look like ordinary counts.

    Parameters
    ----------
    at_maximum, near_maximum : float
        From `shares_at_maximum`.
    pixels : int
        Pixels of the frame.
    ceiling : float or None
        Largest value that the pixel type holds; None for float32.
    """
    if ceiling is not None and maximum >= ceiling:
        return at_maximum
    piled_up = maximum > 1 and at_maximum * pixels >= FEWEST_PIXELS and at_maximum > PILED_UP * near_maximum
    return at_maximum if piled_up else 0.0


def _share(which: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(which)) / which.size
