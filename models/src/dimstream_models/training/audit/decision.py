"""The flag as a number: how far a frame is from being suspect.

The judge asks several scores, each with a threshold of its own. Their margins over these, each on a scale of
its own, have one smallest: it is what turns the flag, but for the flag's hysteresis and for saturation.
"""

from __future__ import annotations

from typing import Final

from dimstream_models.judging import Criteria, FrameMetrics
from dimstream_models.judging.flag_decision import UNSUPPORTED_MAX
from dimstream_models.judging.plane_history import PlaneHistory

NO_SIGNAL: Final = -1.0
"""At most this for a frame that is blank or all background, which no score can excuse."""


class Margins:
    """Follows one movie, as a `PlaneJudge` does.

    Parameters
    ----------
    split_every
        As `PlaneJudge.judge` takes it.
    """

    def __init__(self, criteria: Criteria, *, split_every: int) -> None:
        self._criteria, self._every = criteria, max(split_every, 1)
        self._history = PlaneHistory()
        self._split: float | None = None
        self._confirmed_until = -1

    def decide(self, seq: int, metrics: FrameMetrics) -> float:
        """Return the decision score of the movie's next frame: suspect below 0, the better the higher.

        The smallest of (structure - threshold) / threshold, of how far the unsupported share is below its
        bound, as a share of that, and of the margin of the smoothed SSIM with the frame before over its
        threshold, as a share of what is possible: (SSIM - threshold) / (1 - threshold).
        Where both halves of the photons were compared their SSIM stands for that of adjacent frames, as long
        as it confirms the frame.
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
