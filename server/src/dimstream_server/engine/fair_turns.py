"""Whose turn it is on a device: fair shares of time, whatever the duration of turns. No clock, no threads.

Virtual-time fair queueing (Demers, Keshav and Shenker 1989, doi:10.1145/75247.75248), with weights. Virtual
time advances by the seconds that were used, divided by the weights of all keys that want turns. In virtual
time, a turn lasts as long as it takes, divided by its key's weight. It begins when the previous turn of the
same key has ended, but not in the past. Of all turns that have begun, the one that would end first is next
(Bennett and Zhang 1996, doi:10.1109/INFCOM.1996.497885). So small frames overtake large ones, an idle key
saves nothing, no key waits forever, and no key is ahead of its share by more than one turn.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
_ROUNDING: Final = 1e-9  # virtual seconds


@dataclass(frozen=True, slots=True)
class _Turn:
    """Begin and end of a turn, virtual seconds."""

    begins: float
    ends: float
    weight: float


class FairTurns(Generic[Key]):
    """Keys that want a turn, and which one is next."""

    def __init__(self) -> None:
        self._now = 0.0
        self._waiting: dict[Key, _Turn] = {}
        self._ended: dict[Key, float] = {}
        self._taken = _Turn(0.0, 0.0, 1.0)
        self._just_had: Key | None = None  # has wanted a turn, and none was taken since

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting

    def want(self, key: Key, *, seconds: float, weight: float = 1.0) -> None:
        """Let a key wait for a turn of this expected duration; does nothing if the key already waits.

        Parameters
        ----------
        weight : float
            Weight of its share, above 0: a key of weight 2 gets twice the time of one of weight 1.
        """
        if key in self._waiting:
            return
        begins = self._ended.get(key, 0.0)
        if key != self._just_had:  # it was idle, so it has saved nothing
            begins = max(self._now, begins)
        self._waiting[key] = _Turn(begins, begins + seconds / weight, weight)

    def take(self) -> Key:
        """Return the key whose turn it is; there must be one. `used` must be called before the next one is
        taken."""
        begun = [key for key, turn in self._waiting.items() if turn.begins <= self._now + _ROUNDING]
        key = min(begun or self._waiting, key=lambda one: self._waiting[one].ends)
        self._taken = self._waiting.pop(key)
        self._just_had = None
        return key

    def used(self, key: Key, seconds: float) -> None:
        """Record the duration of the last turn."""
        taken = self._taken
        self._ended[key] = taken.begins + seconds / taken.weight
        self._just_had = key
        self._now += seconds / (taken.weight + sum(turn.weight for turn in self._waiting.values()))
        if self._waiting:  # a new key begins no earlier than those that wait
            self._now = max(self._now, min(turn.begins for turn in self._waiting.values()))

    def forget(self, key: Key) -> None:
        """Remove a key that wants no more turns."""
        self._waiting.pop(key, None)
        self._ended.pop(key, None)
