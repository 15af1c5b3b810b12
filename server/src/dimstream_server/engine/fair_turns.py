"""Whose turn it is on a device: shares of time, whatever a turn of each takes. No clock, no threads.

Virtual-time fair queueing (Demers, Keshav and Shenker 1989, doi:10.1145/75247.75248): virtual time passes by
the seconds that were used, divided by how many want turns. A turn begins, virtually, when the turn before it
of the same key has ended, but not in the past; the one that would end first is next. So a small frame passes
large ones, a key that was idle has saved nothing up, and nobody waits for ever.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class _Turn:
    """In virtual seconds."""

    begins: float
    ends: float


class FairTurns(Generic[Key]):
    """Keys that want a turn, and which is next."""

    def __init__(self) -> None:
        self._now = 0.0
        self._waiting: dict[Key, _Turn] = {}
        self._ended: dict[Key, float] = {}
        self._begun = 0.0
        self._just_had: Key | None = None  # a turn, and none was taken since

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting

    def want(self, key: Key, *, seconds: float) -> None:
        """Let a key wait for a turn that will probably take so long; nothing, when it waits already."""
        if key in self._waiting:
            return
        begins = self._ended.get(key, 0.0)
        if key != self._just_had:  # it was idle, so nothing is owed to it
            begins = max(self._now, begins)
        self._waiting[key] = _Turn(begins, begins + seconds)

    def take(self) -> Key:
        """The key whose turn it is; there must be one. `used` is to be told before the next is taken."""
        key = min(self._waiting, key=lambda one: self._waiting[one].ends)
        self._begun = self._waiting.pop(key).begins
        self._just_had = None
        return key

    def used(self, key: Key, seconds: float) -> None:
        """Take note of how long the turn has taken that was taken last."""
        self._ended[key] = self._begun + seconds
        self._just_had = key
        self._now += seconds / (len(self._waiting) + 1)
        if self._waiting:  # whoever comes now begins no earlier than those who wait
            self._now = max(self._now, min(turn.begins for turn in self._waiting.values()))

    def forget(self, key: Key) -> None:
        """Forget a key that will want no more turns."""
        self._waiting.pop(key, None)
        self._ended.pop(key, None)
