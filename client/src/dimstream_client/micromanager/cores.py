"""Protocols of the parts of pymmcore-plus that are used. Nothing here imports it: the program passes a
core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Core", "Event", "Runner", "Status", "device_and_property"]


class Status(Protocol):
    """State of the runner: `phase` is a text such as ``idle`` or ``finishing``."""

    @property
    def phase(self) -> Any:
        """Of pymmcore-plus's `RunState`."""


class Runner(Protocol):
    """``core.mda``."""

    @property
    def events(self) -> Any:
        """Its signals."""

    @property
    def status(self) -> Status:
        """A snapshot."""

    def is_running(self) -> bool:
        """Whether a run is in progress."""

    def set_paused(self, paused: bool) -> None:
        """Pause or continue."""

    def cancel(self) -> None:
        """End the run."""

    def seconds_elapsed(self) -> float:
        """Since the run began."""

    def event_seconds_elapsed(self) -> float:
        """Since the run's clock was last reset."""


class Event(Protocol):
    """``useq.MDAEvent``."""

    @property
    def index(self) -> Mapping[str, int]:
        """Index of the event."""

    @property
    def min_start_time(self) -> float | None:
        """Earliest start in seconds of the run's clock."""

    @property
    def reset_event_timer(self) -> bool:
        """Whether it resets the clock."""

    @property
    def properties(self) -> Any:
        """Properties that it sets: triples of device, property, value."""

    def model_copy(self, *, update: Mapping[str, Any]) -> Any:
        """Return a copy with other values."""


class Core(Protocol):
    """``pymmcore_plus.CMMCorePlus``."""

    @property
    def mda(self) -> Any:
        """The `Runner`."""

    @property
    def events(self) -> Any:
        """Its signals."""

    def getExposure(self) -> float:
        """Milliseconds."""

    def getPixelSizeUm(self, cached: bool, /) -> float:
        """Pixel size in micrometres, 0 if unknown."""

    def getCameraDevice(self) -> str:
        """Label of the camera."""

    def getLoadedDevices(self) -> Any:
        """Their labels."""

    def hasProperty(self, device: str, name: str, /) -> bool:
        """Whether the device has it."""

    def isPropertyReadOnly(self, device: str, name: str, /) -> bool:
        """Whether it cannot be set."""

    def hasPropertyLimits(self, device: str, name: str, /) -> bool:
        """Whether it has a least and a largest value."""

    def getPropertyLowerLimit(self, device: str, name: str, /) -> float:
        """Least value."""

    def getPropertyUpperLimit(self, device: str, name: str, /) -> float:
        """Largest value."""

    def getProperty(self, device: str, name: str, /) -> str:
        """Value, read from the device."""

    def getPropertyFromCache(self, device: str, name: str, /) -> str:
        """Value that was last set or read."""

    def isSequenceRunning(self) -> bool:
        """Whether the camera runs, as in Live mode."""

    def getLastImageAndMD(self) -> tuple[npt.NDArray[np.generic], Any]:
        """Return the newest image, (H, W) counts, and its metadata."""


def device_and_property(name: str) -> tuple[str, str]:
    """Return both parts of ``DEVICE/PROPERTY``."""
    device, _, prop = name.partition("/")
    return device, prop
