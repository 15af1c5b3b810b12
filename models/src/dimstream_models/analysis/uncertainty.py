"""The uncertainty of the mean of a series of frames, when successive frames are correlated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Float64 = NDArray[np.float64]
REPLICATES: Final = 1000
LEVEL: Final = 0.95
FEWEST_INDEPENDENT: Final = 20.0
"""Fewest independent frames of a series; the correlation of shorter series is not known well enough."""
_WINDOW: Final = 5.0


@dataclass(frozen=True)
class Mean:
    """A mean over frames, and its uncertainty.

    Parameters
    ----------
    value : float or None
        None without a frame.
    deviation : float or None
        Standard deviation of the frames.
    frames : int
        Number of frames that have the figure.
    correlation_frames : float
        Integrated autocorrelation time: this many frames are worth one independent frame; 1 if frames are
        independent.
    low, high : float or None
        Bounds of the 95 % confidence interval; None where fewer than 20 frames are independent.
    """

    value: float | None
    deviation: float | None
    frames: int
    correlation_frames: float
    low: float | None
    high: float | None


def mean_of(values: Sequence[float | None], *, seed: int = 0) -> Mean:
    """Return the mean of a series in order, (T,); values may be missing (nan).

    The interval is from a moving-block bootstrap (Künsch 1989, doi 10.1214/aos/1176347265): blocks of twice
    the autocorrelation time are drawn with replacement, 1000 times, and percentiles are taken. It is widened
    for the correlation that blocks omit, and by Student's t for the number of independent frames, but not
    beyond the measured values.
    """
    series = np.array([value for value in values if value is not None], np.float64)
    if not len(series):
        return Mean(None, None, 0, 1.0, None, None)
    time = correlation_time(series)
    low = high = None
    if len(series) >= FEWEST_INDEPENDENT * time:
        low, high = _interval(series, time, np.random.default_rng(seed))
    deviation = float(series.std(ddof=1)) if len(series) > 1 else None
    return Mean(float(series.mean()), deviation, len(series), time, low, high)


def correlation_time(series: Float64) -> float:
    """Return the integrated autocorrelation time of a series, (T,), in frames; at least 1.

    1 + 2 times the sum of the autocorrelation up to the first lag that is five times the sum so far (Sokal
    1997, doi 10.1007/978-1-4899-0319-8_6). A trend counts as correlation.
    """
    centred = series - series.mean()
    if len(series) < 4 or not np.ptp(series):
        return 1.0
    size = 2 ** math.ceil(math.log2(2 * len(series)))
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    covariance = np.fft.irfft(power)[: len(series)]
    time = 2 * np.cumsum(covariance / covariance[0]) - 1  # (T,)
    enough = np.arange(len(series)) >= _WINDOW * time
    return float(max(1.0, time[int(np.argmax(enough))] if enough.any() else time[-1]))


def _interval(series: Float64, time: float, rng: np.random.Generator) -> tuple[float, float]:
    block = math.ceil(2 * time) if time > 1 else 1
    sums = np.concatenate([[0.0], np.cumsum(series)])
    count = math.ceil(len(series) / block)
    starts = rng.integers(0, len(series) - block + 1, (REPLICATES, count))
    means = (sums[starts + block] - sums[starts]).sum(axis=1) / (count * block)  # (REPLICATES,)
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    widening = stats.t.ppf(tails[1], len(series) / time - 1) / stats.norm.ppf(tails[1])
    widening *= math.sqrt(len(series) / (len(series) - block))
    mean = series.mean()
    bounds = [float(mean + widening * (np.quantile(means, q) - mean)) for q in tails]
    return max(bounds[0], float(series.min())), min(bounds[1], float(series.max()))
