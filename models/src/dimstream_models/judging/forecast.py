"""How long it will take until a plane is suspect, from the decline of its structure score and its light.

When a sample bleaches, its raw frames finally show no structure, and they become suspect. Meanwhile the
logarithm of the structure score falls almost linearly. At first it falls more slowly than the light, because
a bright frame's own structure limits the score. In the end it falls faster, because the background does not
bleach. So regressions with exponential forgetting follow both declines, with a short and a longer memory.
`COEFFICIENTS` turn their slopes into the expected rate. Only a few sums are kept for each plane.
`docs/flags.md` gives the accuracy, and `dimstream-train forecast` measures it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self

import numpy as np

from dimstream_models.arithmetic import Float64

LEAST_FRAMES: Final = 8
MEMORY_FALL: Final = 0.2
"""The short regression remembers the frames over which the logarithm of the score falls by this."""
MEMORY: Final = (8.0, 4096.0)
"""Bounds of the short regression's memory, frames."""
LONGER: Final = 4.0
"""The longer regression's memory, in multiples of the short one's."""
SURE: Final = 4.0
"""The score's slope must be this many standard errors below zero."""
LEAST_FALL: Final = 0.12
"""Least fall of the logarithm of the score, within the memory, that counts as a decline."""
RELATIVE_NOISE: Final = 0.03
"""Relative noise of the structure score because of motion, in addition to its own standard error of 1."""
SCORE_NOISE: Final = 1.1
"""Standard deviation of the score of a frame near its threshold."""
OUTLIER: Final = 6.0
"""A frame this many standard errors off the line is ignored. At the third in a row, the line starts again."""
MOST_OUTLIERS: Final = 2
RATE_ERROR: Final = 0.3
"""Standard deviation of the logarithm of the true rate about the forecast rate."""
NINE_OF_TEN: Final = 1.2816
COEFFICIENTS: Final = (0.089, -0.242, -0.123, -1.207, -0.324)
"""The logarithm of the future rate, minus that of the faster of both present rates, is a weighted sum. The
terms are: a constant; how much faster the light falls; how much faster the score falls; and how much faster
score and light fell over the longer memory. Fitted to 67 simulated movies that are not used to evaluate it.
"""
MOST_BEND: Final = 1.5
"""Bound of the last two terms."""
LEAST_LIGHT: Final = 1e-9


class FramesLeft(NamedTuple):
    """Number of frames until the plane becomes suspect.

    Parameters
    ----------
    frames : float
        Median of the forecast.
    earliest, latest : float
        10 % and 90 % quantiles of the forecast.
    """

    frames: float
    earliest: float
    latest: float


class Slopes(NamedTuple):
    """Result of a regression at the newest frame.

    Parameters
    ----------
    level : float
        Logarithm of the structure score.
    score, light : float
        Change of the logarithms of score and light per frame.
    error : float
        Standard error of `score`.
    deviation : float
        Standard deviation about the line of the logarithm of a score with weight 1.
    """

    level: float
    score: float
    light: float
    error: float
    deviation: float


@dataclass
class FadingRegression:
    """A line through the logarithms of score and light, in which older frames have less weight.

    Parameters
    ----------
    sums : tuple of float
        Sums of the weights w, and of w times t, t^2, y, t y, y^2, x, t x. Here t is the time from the
        newest frame, y the logarithm of the score, and x that of the light.
    """

    sums: tuple[float, ...] = (0.0,) * 8

    def add(self, y: float, x: float, *, weight: float, steps: int, memory: float) -> None:
        """Add a frame, `steps` time points after the last one."""
        w, wt, wtt, wy, wty, wyy, wx, wtx = self.sums
        wtt, wt = wtt - 2 * steps * wt + steps * steps * w, wt - steps * w
        wty, wtx = wty - steps * wy, wtx - steps * wx
        kept = (1 - 1 / memory) ** steps
        old = (w, wt, wtt, wy, wty, wyy, wx, wtx)
        new = (1.0, 0.0, 0.0, y, 0.0, y * y, x, 0.0)
        self.sums = tuple([kept * before + weight * now for before, now in zip(old, new, strict=True)])

    def slopes(self, frames: float) -> Slopes | None:
        """Return the line; None if it is not determined.

        Parameters
        ----------
        frames : float
            Effective number of frames.
        """
        w, wt, wtt, wy, wty, wyy, wx, wtx = self.sums
        determinant = w * wtt - wt * wt
        if determinant <= 1e-9 * w * w:
            return None
        score = (w * wty - wt * wy) / determinant
        level = (wy - score * wt) / w
        rest = max(wyy - level * wy - score * wty, 0.0)
        variance = rest / w * frames / max(frames - 2, 1.0)
        error = math.sqrt(variance * w * w / determinant / max(frames, 1.0))
        return Slopes(level, score, (w * wtx - wt * wx) / determinant, error, math.sqrt(variance))


@dataclass
class Decline:
    """The decline of one plane; it is updated with each of its frames.

    Parameters
    ----------
    frames : int
        Number of frames so far.
    """

    frames: int = 0
    _memory: float = MEMORY[0]
    _outliers: int = 0  # in a row
    _short: FadingRegression = field(default_factory=FadingRegression)
    _long: FadingRegression = field(default_factory=FadingRegression)

    def follow(self, structure_score: float, light: float, *, steps: int = 1) -> None:
        """Update it with the next frame.

        Parameters
        ----------
        light : float
            Mean of the raw frame, in any unit.
        steps : int
            Time points since the frame before.
        """
        if not (math.isfinite(structure_score) and math.isfinite(light)):
            return
        y = math.log(max(structure_score, 1.0))
        error = math.hypot(1 / max(structure_score, 1.0), RELATIVE_NOISE)
        if self._is_outlier(y, error, steps):
            return
        x = math.log(max(light, LEAST_LIGHT))
        weight = (RELATIVE_NOISE / error) ** 2
        self._short.add(y, x, weight=weight, steps=steps, memory=self._memory)
        longer = min(LONGER * self._memory, MEMORY[1])
        self._long.add(y, x, weight=weight, steps=steps, memory=longer)
        self.frames += 1
        slopes = self._short.slopes(self._counted)
        if slopes is not None:
            fall = max(-slopes.score, 1e-9)
            self._memory = min(max(MEMORY_FALL / fall, MEMORY[0]), MEMORY[1])

    def frames_left(self, threshold: float) -> FramesLeft | None:
        """Return how long it will take until the plane is suspect; None unless it certainly declines.

        Parameters
        ----------
        threshold : float
            Structure score below which it is suspect.
        """
        short, long = self._short.slopes(self._counted), self._long.slopes(self._counted)
        if short is None or long is None or threshold <= 0 or not self._declines(short):
            return None
        return _until(short.level, _rate(short, long), threshold)

    def _declines(self, short: Slopes) -> bool:
        """Whether the score certainly falls, and the light too. When the focus drifts, only the score
        falls."""
        fall = -short.score
        return (
            self.frames >= LEAST_FRAMES
            and fall > SURE * short.error
            and fall * self._counted > LEAST_FALL
            and short.light < 0
        )

    @property
    def _counted(self) -> float:
        """Effective number of frames: the sum of their weights."""
        return min(float(self.frames), 2 * self._memory)

    def _is_outlier(self, y: float, error: float, steps: int) -> bool:
        """Whether a frame is far off the line; the third in a row starts a new line."""
        slopes = self._short.slopes(self._counted)
        if slopes is None or self.frames < LEAST_FRAMES:
            return False
        spread = max(error, slopes.deviation, 2 * RELATIVE_NOISE)
        if abs(y - slopes.level - slopes.score * steps) <= OUTLIER * spread:
            self._outliers = 0
            return False
        self._outliers += 1
        if self._outliers <= MOST_OUTLIERS:
            return True
        self._short, self._long = FadingRegression(), FadingRegression()
        self.frames, self._memory, self._outliers = 0, MEMORY[0], 0
        return False

    def state(self) -> dict[str, Any]:
        """Return the whole state as JSON values."""
        return {
            "frames": self.frames,
            "memory": self._memory,
            "outliers": self._outliers,
            "short": list(self._short.sums),
            "long": list(self._long.sums),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the decline that `state` describes."""
        return cls(
            frames=state["frames"],
            _memory=state["memory"],
            _outliers=state["outliers"],
            _short=FadingRegression(tuple(state["short"])),
            _long=FadingRegression(tuple(state["long"])),
        )


def _rate(short: Slopes, long: Slopes) -> float:
    """Return the mean fall of the logarithm of the score per frame that is expected from now on."""
    score, light = math.log(-short.score), math.log(-short.light)
    faster = light - score
    bends = [
        min(max(math.log(max(-before, 1e-6)) - now, -MOST_BEND), MOST_BEND)
        for before, now in ((long.score, score), (long.light, light))
    ]
    found = (1.0, max(faster, 0.0), min(faster, 0.0), *bends)
    shift = sum(one * value for one, value in zip(COEFFICIENTS, found, strict=True))
    return math.exp(max(score, light) + shift)


def _until(level: float, rate: float, threshold: float) -> FramesLeft:
    """Return when a linearly falling score is first below its threshold; by chance, this is before its mean
    is."""
    early, median, late = (
        max(level - _level_at(threshold, rate, share), 0.0) / rate for share in (0.1, 0.5, 0.9)
    )
    frames = max(median, 0.5)
    before, after = math.log(frames / max(early, 0.25)), math.log(max(late, frames) / frames)
    spread = NINE_OF_TEN * RATE_ERROR
    return FramesLeft(
        frames=frames,
        earliest=frames * math.exp(-math.hypot(spread, before)),
        latest=frames * math.exp(math.hypot(spread, after)),
    )


def _level_at(threshold: float, rate: float, share: float) -> float:
    """Return the logarithm of the mean score at which, in this share of cases, a frame has been below its
    threshold."""
    levels, hazards = _hazards(threshold)
    return float(np.interp(-rate * math.log1p(-share), hazards, levels))


@lru_cache(maxsize=64)
def _hazards(threshold: float) -> tuple[Float64, Float64]:
    """Return falling levels, and the expected number of frames below the threshold until then, times the
    rate."""
    low, high = max(threshold - 4.0, 0.2), threshold + 9.0
    levels = np.linspace(math.log(high), math.log(low), 80)
    chances = [0.5 * math.erfc((math.exp(one) - threshold) / (SCORE_NOISE * math.sqrt(2))) for one in levels]
    return levels, np.cumsum(chances) * float(levels[0] - levels[1])
