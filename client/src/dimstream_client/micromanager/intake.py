"""The queue between the acquisition and the sending thread. Adding an item never waits."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_MOST_ITEMS: Final = 1_000_000


class Intake(Generic[T]):
    """A bounded queue, emptied by one thread. Items that do not fit are refused.

    Parameters
    ----------
    max_bytes : int
        Limit for the memory of waiting frames.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._unsettled = 0  # items, and of these frames
        self._frames = 0
        self._taken_bytes = 0
        self._changed = threading.Condition()

    def has_room(self, nbytes: int) -> bool:
        """Whether `nbytes` more bytes fit. One item always fits, however large."""
        with self._changed:
            return self._has_room(nbytes)

    def put(self, item: T, nbytes: int = 0) -> bool:
        """Add an item; return False if it does not fit."""
        with self._changed:
            if not self._has_room(nbytes) or len(self._items) >= _MOST_ITEMS:
                return False
            self._items.append((item, nbytes))
            self._bytes += nbytes
            self._unsettled += 1
            self._frames += nbytes > 0
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float) -> T | None:
        """Return the next item; None if none came. Call `settle` after it was processed."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._items), timeout_s):
                return None
            item, nbytes = self._items.popleft()
            self._bytes -= nbytes
            self._taken_bytes = nbytes
            return item

    def settle(self) -> None:
        """Mark the last taken item as processed."""
        with self._changed:
            self._unsettled -= 1
            self._frames -= self._taken_bytes > 0
            self._changed.notify_all()

    def wait_until_settled(self, timeout_s: float) -> int:
        """Wait until all items were processed; return the number of unprocessed frames after the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unsettled, timeout_s)
            return self._frames

    def _has_room(self, nbytes: int) -> bool:
        return not nbytes or not self._bytes or self._bytes + nbytes <= self.max_bytes
