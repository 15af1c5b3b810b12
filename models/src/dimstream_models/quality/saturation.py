"""Whether a frame ran into the detector's ceiling."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array

FEWEST_PIXELS: Final = 20
"""At the maximum: fewer may be chance."""
PILED_UP: Final = 0.5
"""Share of the brightest pixels that sit exactly at the maximum; ordinary counts thin out towards it."""
NEAR: Final = 0.5
"""The brightest pixels reach so many square roots of the maximum below it, and one count at least."""


def shares_at_maximum(counts: Array) -> tuple[float, float]:
    """Share of the pixels at the frame's maximum, and of those that are no more than `NEAR` it, 0 to 1 both.

    `counts` is (H, W), photon counts.
    """
    maximum = float(counts.max())
    near = maximum - max(NEAR * np.sqrt(max(maximum, 0.0)), 1.0)
    return _share(counts == maximum), _share(counts >= near)


def clipped_share(denoised: Array, ceiling: float | None) -> float:
    """Share of the denoised pixels that are at the largest value that they can have.

    Parameters
    ----------
    denoised
        (H, W), as it is delivered.
    ceiling
        That value; None when there is none.
    """
    if ceiling is None:
        return 0.0
    # Integers that are compared with a float would be turned into floats first.
    least = math.ceil(ceiling) if denoised.dtype.kind == "u" else ceiling
    return _share(denoised >= least) if denoised.max() >= least else 0.0


def saturated_share(
    *, maximum: float, at_maximum: float, near_maximum: float, pixels: int, ceiling: float | None
) -> float:
    """Share of the pixels that are saturated; 0 when the brightest ones look like ordinary counts.

    Parameters
    ----------
    at_maximum, near_maximum : float
        From `shares_at_maximum`.
    pixels : int
        In the frame.
    ceiling : float or None
        Largest value that the pixel type holds; None for float32.
    """
    if ceiling is not None and maximum >= ceiling:
        return at_maximum
    piled_up = maximum > 1 and at_maximum * pixels >= FEWEST_PIXELS and at_maximum > PILED_UP * near_maximum
    return at_maximum if piled_up else 0.0


def _share(which: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(which)) / which.size
