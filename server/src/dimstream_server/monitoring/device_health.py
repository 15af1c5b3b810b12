"""Whether the device answers: its thread lives, frames move, and the model does not fail on all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from dimstream_server.engine.protocol import EngineResult

FAILURES: Final = 5  # in a row
FAILURES_COUNT_S: Final = 300.0
STALL_S: Final = 120.0


class Watched(Protocol):
    """The part of an engine that is looked at."""

    def trouble(self) -> str | None:
        """Why it will answer nothing more; None while it works."""

    def queue_length(self) -> int:
        """Frames accepted and not yet answered."""

    def models(self) -> Collection[str]:
        """Ids of the models that are served."""


class DeviceHealth:
    """What speaks against a device; told of every answer, by any thread.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, engine: Watched, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._answers = 0
        self._failures: dict[
            str, tuple[int, float, str]
        ] = {}  # model: in a row, the last one's time and error
        self._seen: tuple[int, float] | None = None  # answers, and since when there were no more

    def answered(self, result: EngineResult) -> None:
        """Take note of an answer."""
        with self._lock:
            self._answers += 1
            if result.status != "failed":
                self._failures.pop(result.model_id, None)
                return
            row = self._failures.get(result.model_id, (0, 0.0, ""))[0]
            self._failures[result.model_id] = (row + 1, self._clock(), result.error or "")

    def check(self) -> str | None:
        """Why the device is not well; None when it is. Frames that do not move are found by asking again."""
        return self._engine.trouble() or self._stall() or self._failing()

    def _stall(self) -> str | None:
        waiting, now = self._engine.queue_length(), self._clock()
        with self._lock:
            if not waiting:
                self._seen = None
                return None
            if self._seen is None or self._seen[0] != self._answers:
                self._seen = (self._answers, now)
            since = self._seen[1]
        if now - since < STALL_S:
            return None
        return f"{waiting} frames wait and none was answered for {now - since:.0f} s; restart the server"

    def _failing(self) -> str | None:
        """A failure of long ago says nothing: whoever would try again was kept away by this check."""
        earliest, served = self._clock() - FAILURES_COUNT_S, self._engine.models()
        with self._lock:
            for model, (row, last, error) in self._failures.items():
                if row >= FAILURES and last > earliest and model in served:
                    return f"model {model} failed on the last {row} frames: {error[:200]}"
        return None
