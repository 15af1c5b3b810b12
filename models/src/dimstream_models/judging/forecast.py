"""How long a plane will last until it is suspect, by the decline of its structure score and of its light.

A bleaching sample turns suspect when its raw frames show no structure any more. The logarithm of the
structure score falls about evenly then: at first more slowly than the light (a bright frame's own structure
limits the score), in the end faster (the background does not bleach). So both declines are followed by
regressions that forget, over a short and a longer while, and `COEFFICIENTS` say what rate comes of them.
Nothing but some sums is kept of a plane. `docs/flags.md` says how right that is, and `dimstream-train
forecast` measures it.
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
"""Fall of the logarithm of the score over which the short regression forgets."""
MEMORY: Final = (8.0, 4096.0)
"""Bounds of that, frames."""
LONGER: Final = 4.0
"""Times as long the longer regression remembers."""
SURE: Final = 4.0
"""Standard errors that the score's slope must be below zero."""
LEAST_FALL: Final = 0.12
"""Fall of the logarithm of the score, over what is remembered, from which on it is a decline."""
RELATIVE_NOISE: Final = 0.03
"""Of the structure score, by motion, beside its own standard error of 1."""
SCORE_NOISE: Final = 1.1
"""Standard deviation of the score of a frame near its threshold."""
OUTLIER: Final = 6.0
"""Standard errors off the line, from which on a frame is passed over; after the third in a row it is the line
that begins again."""
MOST_OUTLIERS: Final = 2
RATE_ERROR: Final = 0.3
"""Standard deviation of the logarithm of the rate that will be, about the rate that is foreseen."""
NINE_OF_TEN: Final = 1.2816
COEFFICIENTS: Final = (0.089, -0.242, -0.123, -1.207, -0.324)
"""Of the logarithm of the rate that will be, above that of the faster of both present rates: a constant; how
much faster the light falls; how much faster the score falls; and how much faster score and light fell over a
longer while. Fitted to 67 simulated movies that do not judge it."""
MOST_BEND: Final = 1.5
"""Bound of the last two."""
LEAST_LIGHT: Final = 1e-9


class FramesLeft(NamedTuple):
    """Frames of the plane until it will be suspect.

    Parameters
    ----------
    frames : float
        As likely more as fewer.
    earliest, latest : float
        In one and in nine of ten cases it is suspect before.
    """

    frames: float
    earliest: float
    latest: float


class Slopes(NamedTuple):
    """What a regression says of the newest frame.

    Parameters
    ----------
    level : float
        Logarithm of the structure score.
    score, light : float
        By which the logarithms of score and light change from frame to frame.
    error : float
        Standard error of `score`.
    deviation : float
        Of the logarithm of a score with the weight 1 about the line.
    """

    level: float
    score: float
    light: float
    error: float
    deviation: float


@dataclass
class FadingRegression:
    """A line through the logarithms of score and light, in which older frames weigh less.

    Parameters
    ----------
    sums : tuple of float
        Of the weights w, and of w times t, t^2, y, t y, y^2, x, t x: t is the time from the newest frame, y
        the logarithm of the score, x that of the light.
    """

    sums: tuple[float, ...] = (0.0,) * 8

    def add(self, y: float, x: float, *, weight: float, steps: int, memory: float) -> None:
        """Add a frame, `steps` frames after the one before."""
        w, wt, wtt, wy, wty, wyy, wx, wtx = self.sums
        wtt, wt = wtt - 2 * steps * wt + steps * steps * w, wt - steps * w
        wty, wtx = wty - steps * wy, wtx - steps * wx
        kept = (1 - 1 / memory) ** steps
        old = (w, wt, wtt, wy, wty, wyy, wx, wtx)
        new = (1.0, 0.0, 0.0, y, 0.0, y * y, x, 0.0)
        self.sums = tuple([kept * before + weight * now for before, now in zip(old, new, strict=True)])

    def slopes(self, frames: float) -> Slopes | None:
        """Return its line; None while it has none.

        Parameters
        ----------
        frames : float
            How many it rests on.
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
    """The decline of one plane; it is brought up to each of its frames.

    Parameters
    ----------
    frames : int
        That it rests on.
    """

    frames: int = 0
    _memory: float = MEMORY[0]
    _outliers: int = 0  # in a row
    _short: FadingRegression = field(default_factory=FadingRegression)
    _long: FadingRegression = field(default_factory=FadingRegression)

    def follow(self, structure_score: float, light: float, *, steps: int = 1) -> None:
        """Bring it up to the next frame.

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
        """Return when the plane will be suspect; None while it does not surely decline.

        Parameters
        ----------
        threshold : float
            Structure score below which it is.
        """
        short, long = self._short.slopes(self._counted), self._long.slopes(self._counted)
        if short is None or long is None or threshold <= 0 or not self._declines(short):
            return None
        return _until(short.level, _rate(short, long), threshold)

    def _declines(self, short: Slopes) -> bool:
        """Whether the score surely falls, and the light with it, as it does not when the focus drifts."""
        fall = -short.score
        return (
            self.frames >= LEAST_FRAMES
            and fall > SURE * short.error
            and fall * self._counted > LEAST_FALL
            and short.light < 0
        )

    @property
    def _counted(self) -> float:
        """Frames that still weigh."""
        return min(float(self.frames), 2 * self._memory)

    def _is_outlier(self, y: float, error: float, steps: int) -> bool:
        """Whether a frame is far off the line; the third in a row is a new beginning."""
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
        """Return all of it, as JSON holds it."""
        return {
            "frames": self.frames,
            "memory": self._memory,
            "outliers": self._outliers,
            "short": list(self._short.sums),
            "long": list(self._long.sums),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the decline of which `state` told."""
        return cls(
            frames=state["frames"],
            _memory=state["memory"],
            _outliers=state["outliers"],
            _short=FadingRegression(tuple(state["short"])),
            _long=FadingRegression(tuple(state["long"])),
        )


def _rate(short: Slopes, long: Slopes) -> float:
    """Return by how much the logarithm of the score will fall from frame to frame, in the mean."""
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
    """Return when a score that falls evenly is first below its threshold, by chance sooner than its mean."""
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
    """Return where the mean of the logarithm of the score is when that of a frame has fallen below its
    threshold in this share of all cases."""
    levels, hazards = _hazards(threshold)
    return float(np.interp(-rate * math.log1p(-share), hazards, levels))


@lru_cache(maxsize=64)
def _hazards(threshold: float) -> tuple[Float64, Float64]:
    """Return levels, falling, and how many frames are below the threshold until then, times the rate."""
    low, high = max(threshold - 4.0, 0.2), threshold + 9.0
    levels = np.linspace(math.log(high), math.log(low), 80)
    chances = [0.5 * math.erfc((math.exp(one) - threshold) / (SCORE_NOISE * math.sqrt(2))) for one in levels]
    return levels, np.cumsum(chances) * float(levels[0] - levels[1])
