"""Conditions of rules. Each one checks one frame and returns a description of what it found, or None."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Union

from dimstream_client.errors import ArgumentError, Code
from dimstream_client.feedback.observations import Observation

__all__ = ["Condition", "Fading", "LowDose", "Moved", "Saturated", "Suspect"]


@dataclass(frozen=True)
class Suspect:
    """The plane is suspect for `frames` consecutive frames. Unjudged frames are ignored."""

    KIND: ClassVar[str] = "suspect"
    frames: int = 3

    def says_nothing(self, seen: Observation) -> bool:
        """Whether the frame neither meets nor fails the condition."""
        return seen.flag is None or seen.flag == "unjudged"

    def found(self, seen: Observation) -> str | None:
        """Return what this frame shows, or None when it does not meet the condition."""
        if seen.flag != "suspect":
            return None
        return f"suspect: {seen.reason}" if seen.reason else "suspect"


@dataclass(frozen=True)
class LowDose:
    """The raw frames have a mean below `photons` photons per pixel, for `frames` consecutive frames."""

    KIND: ClassVar[str] = "low_dose"
    photons: float
    frames: int = 3

    def says_nothing(self, seen: Observation) -> bool:
        """Whether the frame neither meets nor fails the condition."""
        return seen.mean_photons is None

    def found(self, seen: Observation) -> str | None:
        """Return what this frame shows, or None when it does not meet the condition."""
        if seen.mean_photons is None or seen.mean_photons >= self.photons:
            return None
        return f"{seen.mean_photons:.3g} photons per pixel, expected at least {self.photons:g}"


@dataclass(frozen=True)
class Fading:
    """The plane is forecast to be suspect within `minutes`, or within `within_frames` of its frames.

    Minutes are unknown if the stream has no frame interval.

    Raises
    ------
    ArgumentError
        When neither is given.
    """

    KIND: ClassVar[str] = "fading"
    minutes: float | None = None
    within_frames: float | None = None
    frames: int = 1

    def __post_init__(self) -> None:
        if self.minutes is None and self.within_frames is None:
            raise ArgumentError(Code.BAD_FIELD, "fading needs minutes or within_frames")

    def says_nothing(self, seen: Observation) -> bool:
        """Whether the frame neither meets nor fails the condition; without a decline there is no forecast."""
        return seen.flag is None

    def found(self, seen: Observation) -> str | None:
        """Return what this frame shows, or None when it does not meet the condition."""
        for left, within, unit in (
            (seen.minutes_left, self.minutes, "min"),
            (seen.frames_left, self.within_frames, "frames"),
        ):
            if left is not None and within is not None and left <= within:
                return f"suspect in {left:.3g} {unit} by the forecast, which is within {within:g} {unit}"
        return None


@dataclass(frozen=True)
class Saturated:
    """Pixels are saturated (the server's note ``saturated``), for `frames` consecutive frames."""

    KIND: ClassVar[str] = "saturated"
    frames: int = 1

    def says_nothing(self, seen: Observation) -> bool:
        """Whether the frame neither meets nor fails the condition."""
        return seen.flag is None

    def found(self, seen: Observation) -> str | None:
        """Return what this frame shows, or None when it does not meet the condition."""
        return "pixels sit at the detector's ceiling" if "saturated" in seen.notes else None


@dataclass(frozen=True)
class Moved:
    """The sample moved by at least `pixels` since the previous frame, for `frames` consecutive frames."""

    KIND: ClassVar[str] = "moved"
    pixels: float = 1.0
    frames: int = 1

    def says_nothing(self, seen: Observation) -> bool:
        """Whether the frame neither meets nor fails the condition."""
        return seen.shift_px is None

    def found(self, seen: Observation) -> str | None:
        """Return what this frame shows, or None when it does not meet the condition."""
        if seen.shift_px is None or (distance := math.hypot(*seen.shift_px)) < self.pixels:
            return None
        return f"moved by {distance:.3g} px since the frame before"


Condition = Union[Suspect, LowDose, Fading, Saturated, Moved]
CONDITIONS: tuple[type[Condition], ...] = (Suspect, LowDose, Fading, Saturated, Moved)
