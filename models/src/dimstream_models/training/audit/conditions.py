"""The conditions under which flags are tested: a table with the names that the report uses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

Blemish = Literal["none", "ramp", "vignette", "hot pixels", "fixed pattern", "row flicker", "after-pulsing"]
Kind = Literal["signal", "empty", "dying", "saturated"]

ENOUGH_PHOTONS: Final = 1.0
"""Least dose of a frame that counts as signal."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Conditions of a simulated movie.

    Parameters
    ----------
    dose : float
        Expected photons on a typical structure's peak; 0: the field is empty.
    background : float
        Counts per pixel and frame without light from the sample.
    drift_px : int
        Motion of the field from frame to frame.
    half_life_frames : float
        Number of frames after which half of the light remains.
    dies : bool
        Whether the sample's light ends at a frame in the middle of the movie.
    jumps : bool
        Whether the stage moves to another field at a frame in the middle of the movie.
    half_empty : bool
        Whether the sample covers only half of the field.
    blemish : str
        Artefact of the detector or the illumination.
    ceiling : int or None
        Largest count of the detector.
    quick : bool
        Whether it is part of the quick audit.
    shown : bool
        Whether the report shows a frame of it.
    """

    name: str
    dose: float = 0.0
    background: float
    drift_px: int = 0
    half_life_frames: float = math.inf
    dies: bool = False
    jumps: bool = False
    half_empty: bool = False
    blemish: Blemish = "none"
    ceiling: int | None = None
    quick: bool = False
    shown: bool = False

    @property
    def kind(self) -> Kind:
        """What the flag should detect."""
        if self.ceiling is not None:
            return "saturated"
        if not self.dose:
            return "empty"
        return "dying" if self.dies else "signal"


SIGNAL: Final = (
    Condition(name="0.1 photons, dark", dose=0.1, background=0.003),
    Condition(name="0.3 photons, dark", dose=0.3, background=0.01, quick=True),
    Condition(name="0.3 photons, background 0.1", dose=0.3, background=0.1),
    Condition(name="1 photon, dark", dose=1, background=0.01, quick=True, shown=True),
    Condition(name="1 photon, background 0.1", dose=1, background=0.1),
    Condition(name="1 photon, background 0.5", dose=1, background=0.5),
    Condition(name="3 photons, dark", dose=3, background=0.003, quick=True),
    Condition(name="3 photons, background 0.5", dose=3, background=0.5),
    Condition(name="3 photons, background 2", dose=3, background=2),
    Condition(name="10 photons, background 0.1", dose=10, background=0.1),
    Condition(name="10 photons, background 2", dose=10, background=2),
    Condition(name="1 photon, drift 1 px", dose=1, background=0.03, drift_px=1),
    Condition(name="1 photon, drift 4 px", dose=1, background=0.03, drift_px=4),
    Condition(name="1 photon, drift 10 px", dose=1, background=0.03, drift_px=10, quick=True),
    Condition(name="3 photons, drift 10 px", dose=3, background=0.1, drift_px=10),
    Condition(name="3 photons, bleaching", dose=3, background=0.03, half_life_frames=8),
    Condition(name="10 photons, bleaching", dose=10, background=0.1, half_life_frames=5),
    Condition(name="1 photon, stage jump", dose=1, background=0.03, jumps=True, quick=True),
    Condition(name="10 photons, stage jump", dose=10, background=0.1, jumps=True),
    Condition(name="1 photon, half empty", dose=1, background=0.01, half_empty=True, quick=True, shown=True),
    Condition(name="1 photon, half empty, background 0.3", dose=1, background=0.3, half_empty=True),
    Condition(name="3 photons, half empty", dose=3, background=0.1, half_empty=True),
    Condition(name="10 photons, half empty, background 1", dose=10, background=1, half_empty=True),
    Condition(name="1 photon, hot pixels", dose=1, background=0.03, blemish="hot pixels", shown=True),
    Condition(name="1 photon, ramp", dose=1, background=0.5, blemish="ramp", shown=True),
    Condition(name="3 photons, after-pulsing", dose=3, background=0.1, blemish="after-pulsing"),
)
DYING: Final = (
    Condition(name="1 photon, dies", dose=1, background=0.03, dies=True, quick=True),
    Condition(name="1 photon, dies, background 0.5", dose=1, background=0.5, dies=True),
    Condition(name="3 photons, dies", dose=3, background=0.1, dies=True, quick=True, shown=True),
    Condition(name="10 photons, dies, background 2", dose=10, background=2, dies=True),
    Condition(name="3 photons, dies, hot pixels", dose=3, background=0.1, dies=True, blemish="hot pixels"),
    Condition(name="3 photons, dies, ramp", dose=3, background=0.5, dies=True, blemish="ramp"),
)
EMPTY: Final = (
    Condition(name="empty, 0.003", background=0.003, quick=True),
    Condition(name="empty, 0.01", background=0.01),
    Condition(name="empty, 0.1", background=0.1, quick=True),
    Condition(name="empty, 0.5", background=0.5),
    Condition(name="empty, 2", background=2, quick=True),
    Condition(name="empty, 0.1, ramp", background=0.1, blemish="ramp"),
    Condition(name="empty, 1, ramp", background=1, blemish="ramp", quick=True, shown=True),
    Condition(name="empty, 1, vignette", background=1, blemish="vignette"),
    Condition(name="empty, 0.1, hot pixels", background=0.1, blemish="hot pixels", quick=True, shown=True),
    Condition(name="empty, 0.003, hot pixels", background=0.003, blemish="hot pixels"),
    Condition(name="empty, 0.5, fixed pattern", background=0.5, blemish="fixed pattern"),
    Condition(name="empty, 2, fixed pattern", background=2, blemish="fixed pattern"),
    Condition(name="empty, 0.5, row flicker", background=0.5, blemish="row flicker"),
    Condition(name="empty, 0.1, after-pulsing", background=0.1, blemish="after-pulsing", quick=True),
    Condition(name="empty, 1, after-pulsing", background=1, blemish="after-pulsing"),
)
SATURATED: Final = (
    Condition(name="60 photons, ceiling 20", dose=60, background=0.1, ceiling=20, quick=True),
    Condition(name="10 photons, ceiling 6", dose=10, background=0.1, ceiling=6),
)
CONDITIONS: Final = SIGNAL + DYING + EMPTY + SATURATED


def conditions(*, quick: bool) -> tuple[Condition, ...]:
    """Return the table, or the part of it for the quick audit."""
    return tuple(condition for condition in CONDITIONS if condition.quick or not quick)
