"""Whether the devices work: their threads are alive, frames are answered, and no model fails on all of
them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from dimstream_server.engine.protocol import DeviceReport, EngineResult

FAILURES: Final = 5  # in a row
FAILURES_COUNT_S: Final = 300.0
STALL_S: Final = 120.0


class Watched(Protocol):
    """The part of an engine that is monitored."""

    def trouble(self) -> str | None:
        """Why it no longer answers; None while it works."""

    def devices(self) -> Sequence[DeviceReport]:
        """State of each device."""

    def models(self) -> Collection[str]:
        """Ids of the served models."""


class DeviceHealth:
    """Problems of the devices; every answer is reported to it, by any thread.

    Parameters
    ----------
    clock : callable
        A monotonic clock, seconds.
    """

    def __init__(self, engine: Watched, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[
            str, tuple[int, float, str]
        ] = {}  # model: in a row, the last one's time and error
        self._seen: dict[str, tuple[int, float]] = {}  # answers of each, and since when there were no more

    def answered(self, result: EngineResult) -> None:
        """Record an answer."""
        with self._lock:
            if result.status != "failed":
                self._failures.pop(result.model_id, None)
                return
            row = self._failures.get(result.model_id, (0, 0.0, ""))[0]
            self._failures[result.model_id] = (row + 1, self._clock(), result.error or "")

    def check(self) -> str | None:
        """Return what is wrong with a device; None if all work. Repeated calls detect frames that are not
        answered."""
        return self._engine.trouble() or self._stall() or self._failing()

    def lost(self) -> str | None:
        """Return which devices are lost while others work; None if none is lost."""
        devices = self._engine.devices()
        lost = [one for one in devices if one.trouble is not None]
        if not lost:
            return None
        named = "; ".join(f"{one.name}: {one.trouble}" for one in lost)
        return (
            f"{len(lost)} of {len(devices)} devices are lost, restart the server to use them again: {named}"
        )

    def _stall(self) -> str | None:
        devices, now = self._engine.devices(), self._clock()
        with self._lock:
            stalled = [one for one in devices if self._silent_s(one, now) >= STALL_S]
            if not stalled:
                return None
            one, silent_s = stalled[0], self._silent_s(stalled[0], now)
        where = f" for {one.name}" if len(devices) > 1 else ""
        return (
            f"{one.queued} frames are waiting{where} and none was answered for {silent_s:.0f} s; restart "
            "the server"
        )

    def _silent_s(self, device: DeviceReport, now: float) -> float:
        """Return for how long frames have been waiting while none was answered, seconds."""
        if not device.queued:
            self._seen.pop(device.name, None)
            return 0.0
        seen = self._seen.get(device.name)
        if seen is None or seen[0] != device.answered:
            seen = self._seen[device.name] = (device.answered, now)
        return now - seen[1]

    def _failing(self) -> str | None:
        """Return which model fails. Old failures are ignored, because this check itself keeps new frames
        away."""
        earliest, served = self._clock() - FAILURES_COUNT_S, self._engine.models()
        with self._lock:
            for model, (row, last, error) in self._failures.items():
                if row >= FAILURES and last > earliest and model in served:
                    return f"model {model} failed on the last {row} frames: {error[:200]}"
        return None
