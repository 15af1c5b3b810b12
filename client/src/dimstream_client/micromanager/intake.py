"""The queue between the acquisition and the thread that sends. Who puts something in never waits."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_MOST_ITEMS: Final = 1_000_000


class Intake(Generic[T]):
    """Items in order, of bounded size; one thread takes them. What finds no room is refused.

    Parameters
    ----------
    max_bytes : int
        Frames that wait may take so much memory.
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
        """Whether so many bytes more may wait. One item may always wait, however large."""
        with self._changed:
            return self._has_room(nbytes)

    def put(self, item: T, nbytes: int = 0) -> bool:
        """Take an item; False when there is no room for it."""
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
        """Return the next item; None when none came. `settle` is to be called once it was dealt with."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._items), timeout_s):
                return None
            item, nbytes = self._items.popleft()
            self._bytes -= nbytes
            self._taken_bytes = nbytes
            return item

    def settle(self) -> None:
        """Say that the item last taken was dealt with."""
        with self._changed:
            self._unsettled -= 1
            self._frames -= self._taken_bytes > 0
            self._changed.notify_all()

    def wait_until_settled(self, timeout_s: float) -> int:
        """Wait until everything was dealt with; return how many frames were not when the time was up."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unsettled, timeout_s)
            return self._frames

    def _has_room(self, nbytes: int) -> bool:
        return not nbytes or not self._bytes or self._bytes + nbytes <= self.max_bytes
