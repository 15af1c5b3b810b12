"""Find the files of a folder that no longer change, and those that grow, by comparing consecutive scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FileState = tuple[int, int]
"""(size in bytes, time of last change in ns)."""


@dataclass(frozen=True)
class _Sighting:
    state: FileState
    since: float
    grew: bool


class Arrivals:
    """Observed state of each file; times are of a monotonic clock, in seconds.

    Parameters
    ----------
    settle_s : float
        A file is at rest when its size and time have not changed for this number of seconds.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._seen: dict[str, _Sighting] = {}
        self.last_change: float | None = None
        """Time of the last observed change."""

    def look(self, found: Mapping[str, FileState], now: float) -> None:
        """Record the current files."""
        for name in self._seen.keys() - found.keys():
            del self._seen[name]
            self.last_change = now
        for name, state in found.items():
            seen = self._seen.get(name)
            if seen is not None and seen.state == state:
                continue
            self._seen[name] = _Sighting(state, now, seen is not None and state[0] > seen.state[0])
            self.last_change = now

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the files at the last scan."""
        return tuple(self._seen)

    def state_of(self, name: str) -> FileState | None:
        """Return size and time of a file at the last scan; None if it did not exist."""
        seen = self._seen.get(name)
        return None if seen is None else seen.state

    def quiet_s(self, name: str, now: float) -> float:
        """Return for how many seconds a file has not changed; 0 if it does not exist."""
        seen = self._seen.get(name)
        return 0.0 if seen is None else now - seen.since

    def is_at_rest(self, name: str, now: float) -> bool:
        """Return whether a file has not changed for long enough."""
        return name in self._seen and self.quiet_s(name, now) >= self._settle_s

    def is_growing(self, name: str) -> bool:
        """Return whether a file was larger at its last change than before."""
        return name in self._seen and self._seen[name].grew
