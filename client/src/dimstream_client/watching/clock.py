"""The clock of a watched folder; tests replace it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A clock that also waits."""

    def now(self) -> float:
        """Return the seconds of a monotonic clock."""

    def wait(self, seconds: float) -> None:
        """Wait for this number of seconds."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """See `Clock`."""
        time.sleep(seconds)
