"""The flag as a number: how far a frame is from being suspect.

The judge compares several scores with their thresholds. Each margin has a scale of its own. The smallest
margin decides the flag, apart from the flag's hysteresis and from saturation.
"""

from __future__ import annotations

from typing import Final

from dimstream_models.judging import Criteria, FrameMetrics
from dimstream_models.judging.flag_decision import UNSUPPORTED_MAX
from dimstream_models.judging.plane_history import PlaneHistory

NO_SIGNAL: Final = -1.0
"""Upper bound of the score of a frame that is blank or only background, whatever its other scores."""


class Margins:
    """Calculates the margins of one movie, in the order of `PlaneJudge`.

    Parameters
    ----------
    split_every
        As in `PlaneJudge.judge`.
    """

    def __init__(self, criteria: Criteria, *, split_every: int) -> None:
        self._criteria, self._every = criteria, max(split_every, 1)
        self._history = PlaneHistory()
        self._split: float | None = None
        self._confirmed_until = -1

    def decide(self, seq: int, metrics: FrameMetrics) -> float:
        """Return the decision score of the movie's next frame: suspect below 0; higher is better.

        It is the smallest of three margins: (structure - threshold) / threshold; (bound - unsupported share)
        / bound; and (SSIM - threshold) / (1 - threshold) of the smoothed SSIM with the frame before. If both
        halves of the photons were compared and confirm the frame, their SSIM replaces that of adjacent
        frames.
        """
        self._history.follow(metrics, self._criteria)
        least = self._criteria.structure_score
        margins = [
            (metrics.structure_score - least) / max(abs(least), 1.0),
            (UNSUPPORTED_MAX - metrics.unsupported_fraction) / UNSUPPORTED_MAX,
        ]
        if metrics.minimum == metrics.maximum or metrics.background >= 1:
            margins.append(NO_SIGNAL)
        similar, halves = self._similar(), self._halves(seq, metrics)
        margins += [margin for margin in (halves if halves is not None else similar,) if margin is not None]
        return min(margins)

    def _similar(self) -> float | None:
        if self._criteria.ssim is None or not self._history.compared:
            return None
        return _over(self._history.similarity, self._criteria.ssim)

    def _halves(self, seq: int, metrics: FrameMetrics) -> float | None:
        least, found = self._criteria.split, metrics.split_ssim
        if least is not None and found is not None:
            self._split = _over(found, least)
            self._confirmed_until = seq + self._every - 1 if found >= least else -1
            return self._split
        return self._split if seq <= self._confirmed_until else None


def _over(value: float, threshold: float) -> float:
    return (value - threshold) / max(1 - threshold, 1e-6)
