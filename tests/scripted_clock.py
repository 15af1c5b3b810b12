"""A clock that a test winds on: what happens meanwhile is a script, so nothing waits and nothing races."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

MOST_WAITS = 100_000


class ScriptedClock:
    """Time passes only in `wait`, and what is due then is done; see `dimstream_client.watching.clock`."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Do something so many seconds after the start."""
        heapq.heappush(self._due, (1000.0 + seconds, next(self._numbers), action))

    def now(self) -> float:
        """Return the time."""
        return self._now

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        assert next(self._numbers) < MOST_WAITS, "the watching never ended"
        until = self._now + seconds
        while self._due and self._due[0][0] <= until:
            self._now, _, action = heapq.heappop(self._due)
            action()
        self._now = max(until, self._now)
