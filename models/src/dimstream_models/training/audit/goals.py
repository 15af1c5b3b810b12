"""The goals of the flags, and whether they are reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dimstream_models.training.audit.alarms import ALLOWED, NOTICED_WITHIN, Rate
from dimstream_models.training.audit.error_rates import ALL, Figures
from dimstream_models.training.audit.intervals import Estimate

LEAST_AREA: Final = 0.99
LEAST_NOTICED: Final = 0.95
MOST_FALSE_ALARMS: Final = 0.005


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A goal and the measured value.

    Parameters
    ----------
    value : float or None
        None if there were no data to measure it.
    low, high : float or None
        The widest of its 95 % intervals.
    reached : bool or None
        Whether the figure is within the bound.
    certain : bool or None
        Whether the whole interval is on the same side of the bound as the figure.
    """

    name: str
    bound: str
    value: float | None
    low: float | None
    high: float | None
    reached: bool | None
    certain: bool | None


def goals(figures: Figures, *, with_split: bool) -> tuple[Goal, ...]:
    """Return all goals.

    Parameters
    ----------
    with_split : bool
        Whether the flag uses split photons; otherwise, both ways are the same.
    """
    ways = (("alone", "without the split-photon check"), ("with_split", "with the split-photon check"))
    return tuple(goal for way, title in ways[: 1 + with_split] for goal in _goals(figures, way, title))


def _goals(figures: Figures, way: str, title: str) -> Iterator[Goal]:
    ending = "_alone" if way == "alone" else ""
    for score in ("decision", "flag"):
        name = f"AUC of signal (at least 1 photon) against empty fields, {score}, {title}"
        yield _at_least(name, figures.area(score + ending), LEAST_AREA)
    name = (
        f"ends of the sample detected within {NOTICED_WITHIN} frames at {ALLOWED:.0%} false alarms, {title}"
    )
    yield _at_least(name, figures.noticed[way]["at_allowed"], LEAST_NOTICED)
    name = f"the same by the flag itself, at its own false alarms, {title}"
    yield _at_least(name, figures.noticed[way]["flagged"], LEAST_NOTICED)
    yield _few_alarms(f"false alarms on the recorded signal movies, {title}", figures, way)


def _at_least(name: str, estimate: Estimate, bound: float) -> Goal:
    value, low, high = estimate.value, estimate.lowest, estimate.highest
    reached = None if value is None else value >= bound
    certain = None if low is None or high is None else low >= bound or high < bound
    return Goal(
        name=name,
        bound=f"at least {bound:g}",
        value=value,
        low=low,
        high=high,
        reached=reached,
        certain=certain,
    )


def _few_alarms(name: str, figures: Figures, way: str) -> Goal:
    rows = [row for row in figures.recorded if row.role == "signal"]
    together = [row for row in rows if row.file == ALL] or rows
    found: Rate | None = together[0].wrong[way] if together else None
    value = found.estimate.value if found else None
    lows = [] if found is None else [found.frames_low, found.estimate.lowest]
    low = min((end for end in lows if end is not None), default=None)
    high = found.highest if found else None
    certain = None if low is None or high is None else high < MOST_FALSE_ALARMS or low >= MOST_FALSE_ALARMS
    return Goal(
        name=name,
        bound=f"fewer than {1000 * MOST_FALSE_ALARMS:g} in a thousand frames",
        value=value,
        low=low,
        high=high,
        reached=None if value is None else value < MOST_FALSE_ALARMS,
        certain=certain,
    )
