"""Two kinds of values, with a sample and without: how well they part, and the threshold between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
QUANTILES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)


def area_under_curve(signal: Floats, dark: Floats) -> float:
    """Return the probability that a signal value is above a dark one (ties count half)."""
    order = np.sort(dark)
    below, upto = np.searchsorted(order, signal, "left"), np.searchsorted(order, signal, "right")
    return float((below + upto).mean() / (2 * len(dark)))


def between(signal: Floats, dark: Floats, rate: float) -> float:
    """Return what is halfway between the dark's upper and the signal's lower quantile; else the latter.

    Parameters
    ----------
    rate : float
        Share of the signal values that may lie below, and of the dark ones above.
    """
    floor, ceiling = float(np.quantile(signal, rate)), float(np.quantile(dark, 1 - rate))
    return round((floor + ceiling) / 2 if ceiling < floor else floor, 4)


def quantiles(values: NDArray[Any]) -> dict[str, float]:
    """Return the distribution, quantile as text to value."""
    return {f"{q:g}": round(float(np.quantile(values, q)), 5) for q in QUANTILES}
