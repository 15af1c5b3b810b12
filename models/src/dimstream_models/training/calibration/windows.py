"""The window sum above which there are more than the detector's own counts, from a movie without a sample.

Source: the paper's Methods, "Quality control metrics": the counts in a sliding window of 10x10 px class a
pixel as background (up to 5), uncertain or signal (above 25); "the window size and thresholds must be adapted
per use case". The paper's numbers hold for its detector; a movie of another detector alone gives those of
that detector.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import window_sums
from dimstream_models.bundle import Thresholds, WindowCalibration
from dimstream_models.training.errors import CannotCalibrate

WINDOW_PX = 10
SIGNAL_CARE = 5  # factor by which false alarms of signal are rarer than those of background
QUANTILES = (0.5, 0.95, 0.99, 0.995, 0.999, 1.0)


@dataclass(frozen=True)
class WindowThresholds:
    """Thresholds of window sums, counts: up to `background_max` is background, above `signal_min` is
    signal."""

    background_max: float
    signal_min: float
    record: WindowCalibration | None = None

    def over(self, before: Thresholds | None) -> Thresholds:
        """Return a bundle's thresholds with these values; None: a bundle without SSIM threshold."""
        own = {
            "background_max": self.background_max,
            "signal_min": self.signal_min,
            "window_px": WINDOW_PX,
        }
        return Thresholds(ssim=None, **own) if before is None else before.model_copy(update=own)


def measure_windows(
    dark: Iterable[NDArray[Any]], *, least: float, rate: float, note: str = ""
) -> WindowThresholds:
    """Return thresholds that a field of view without a sample rarely exceeds.

    Parameters
    ----------
    dark : iterable of (T, H, W) photon counts
        Movies without a sample.
    least : float
        Least threshold of signal (the paper: 25); it is raised if a dark movie exceeds it too often.
    rate : float
        Share of the dark movies' windows that may be above `background_max`; a fifth of it may be above
        `signal_min`, so that a hot pixel does not decide.

    Raises
    ------
    CannotCalibrate
        When there is no frame, or it is smaller than the window.
    """
    tally: Counter[float] = Counter()
    frames = 0
    for frame in (frame for movie in dark for frame in movie):
        tally.update(_sums(frame))
        frames += 1
    if not frames:
        raise CannotCalibrate("expected dark movies with frames, got none")
    values = np.array(sorted(tally))
    shares = np.cumsum([tally[value] for value in values]) / tally.total()
    background_max = _quantile(values, shares, 1 - rate)
    signal_min = max(least, _quantile(values, shares, 1 - rate / SIGNAL_CARE))
    record = WindowCalibration(
        method=f"{WINDOW_PX}x{WINDOW_PX} window sums of movies without a sample: background_max is their"
        f" {1 - rate:g} quantile, signal_min the larger of their {1 - rate / SIGNAL_CARE:g} quantile and"
        f" {least:g}",
        dark_frames=frames,
        dark_quantiles={f"{q:g}": _quantile(values, shares, q) for q in QUANTILES},
        background_share=round(_share_up_to(values, shares, background_max), 6),
        signal_share=round(1 - _share_up_to(values, shares, signal_min), 6),
        note=note,
    )
    return WindowThresholds(background_max, signal_min, record)


def _sums(frame: NDArray[Any]) -> dict[float, int]:
    if min(frame.shape) < WINDOW_PX:
        raise CannotCalibrate(
            f"expected dark frames of at least {WINDOW_PX} px a side, got {frame.shape}: crop less"
        )
    values, times = np.unique(window_sums(frame, WINDOW_PX), return_counts=True)
    return dict(zip(values.tolist(), times.tolist(), strict=True))


def _share_up_to(values: NDArray[np.float64], shares: NDArray[np.float64], bound: float) -> float:
    return float(shares[np.searchsorted(values, bound, "right") - 1])


def _quantile(values: NDArray[np.float64], shares: NDArray[np.float64], q: float) -> float:
    """Return the smallest value that at least a share `q` of the window sums does not exceed."""
    return float(values[min(int(np.searchsorted(shares, q - 1e-12)), len(values) - 1)])
