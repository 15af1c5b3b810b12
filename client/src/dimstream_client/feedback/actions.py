"""What a rule does, and the limits of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Union

__all__ = ["Action", "Change", "Limits", "Note", "Pause", "Stop"]


@dataclass(frozen=True)
class Note:
    """Say so, in the log of decisions and to whoever listens."""

    KIND: ClassVar[str] = "note"


@dataclass(frozen=True)
class Pause:
    """Pause the acquisition; a person lets it go on."""

    KIND: ClassVar[str] = "pause"


@dataclass(frozen=True)
class Stop:
    """End the acquisition."""

    KIND: ClassVar[str] = "stop"


@dataclass(frozen=True)
class Change:
    """Set the exposure, or a property such as a laser's power, for the events to come.

    Parameters
    ----------
    what : str
        ``exposure_ms``, or ``DEVICE/PROPERTY`` as Micro-Manager names it.
    factor : float
        The new value is the present one times this.
    step : float
        This is added afterwards.
    """

    KIND: ClassVar[str] = "change"
    what: str
    factor: float = 1.0
    step: float = 0.0

    def wanted(self, now: float) -> float:
        """Return the value that this asks for."""
        return now * self.factor + self.step


Action = Union[Note, Pause, Stop, Change]
ACTIONS: tuple[type[Action], ...] = (Note, Pause, Stop, Change)


@dataclass(frozen=True)
class Limits:
    """What rules may do at most; needed for the mode ``act``.

    Parameters
    ----------
    actions : int
        Most actions in one run, notes aside.
    ranges : mapping of str to (float, float)
        Least and largest value of each thing that may be changed, by the name that `Change.what` has.
    """

    actions: int
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def clipped(self, what: str, value: float) -> float:
        """Return the value, or the end of its range that is nearest."""
        least, largest = self.ranges[what]
        return min(max(value, least), largest)
