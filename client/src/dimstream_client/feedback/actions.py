"""Actions of rules, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Union

__all__ = ["Action", "Change", "Limits", "Note", "Pause", "Stop"]


@dataclass(frozen=True)
class Note:
    """Only report, in the log of decisions and to the callback."""

    KIND: ClassVar[str] = "note"


@dataclass(frozen=True)
class Pause:
    """Pause the acquisition until a person continues it."""

    KIND: ClassVar[str] = "pause"


@dataclass(frozen=True)
class Stop:
    """End the acquisition."""

    KIND: ClassVar[str] = "stop"


@dataclass(frozen=True)
class Change:
    """Set the exposure, or a property such as laser power, for the next events.

    Parameters
    ----------
    what : str
        ``exposure_ms``, or ``DEVICE/PROPERTY`` as Micro-Manager names it.
    factor : float
        Factor of the new value: current value * `factor` + `step`.
    step : float
        Step of the new value, in its unit.
    """

    KIND: ClassVar[str] = "change"
    what: str
    factor: float = 1.0
    step: float = 0.0

    def wanted(self, now: float) -> float:
        """Return the new value for the current value."""
        return now * self.factor + self.step


Action = Union[Note, Pause, Stop, Change]
ACTIONS: tuple[type[Action], ...] = (Note, Pause, Stop, Change)


@dataclass(frozen=True)
class Limits:
    """Limits of all rules; required for the mode ``act``.

    Parameters
    ----------
    actions : int
        Most actions in one run, without notes.
    ranges : mapping of str to (float, float)
        Least and largest value of each setting that may be changed, by its name in `Change.what`.
    """

    actions: int
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def clipped(self, what: str, value: float) -> float:
        """Return the value, or the nearest end of its range."""
        least, largest = self.ranges[what]
        return min(max(value, least), largest)
