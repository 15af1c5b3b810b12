"""Values of two kinds, with and without a sample: how well they are separated, and the threshold between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
QUANTILES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)


def area_under_curve(signal: Floats, dark: Floats) -> float:
    """Return the probability that a signal value (N,) is above a dark one (M,), where ties count half."""
    order = np.sort(dark)
    below, upto = np.searchsorted(order, signal, "left"), np.searchsorted(order, signal, "right")
    return float((below + upto).mean() / (2 * len(dark)))


def between(signal: Floats, others: Sequence[Floats], rate: float) -> float:
    """Return the middle between the highest upper quantile of the other kinds and the signal's lower
    quantile.

    If these overlap, return the signal's quantile.

    Parameters
    ----------
    signal : (N,) float64
        Similarities with a sample, without unit.
    others : sequence of (M,) float64
        Values of other kinds.
    rate : float
        Share of the signal values that may be below, and of the values of each other kind that may be above.
    """
    floor = float(np.quantile(signal, rate))
    ceiling = max(float(np.quantile(values, 1 - rate)) for values in others)
    return round((floor + ceiling) / 2 if ceiling < floor else floor, 4)


def quantiles(values: NDArray[Any]) -> dict[str, float]:
    """Return the distribution of values (N,): quantiles, as text, and values in their unit."""
    return {f"{q:g}": round(float(np.quantile(values, q)), 5) for q in QUANTILES}
