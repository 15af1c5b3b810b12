"""What waits to be written: bounded by bytes, filled without waiting, emptied by one thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple


class Job(NamedTuple):
    """Something for the writer thread.

    Parameters
    ----------
    run : callable
        Called on the writer thread.
    nbytes : int
        Memory that is held until it was run.
    """

    run: Callable[[], None]
    nbytes: int


class WritingQueue:
    """Jobs in their order.

    Parameters
    ----------
    limit_bytes : int
        Memory that waiting jobs may hold; a single job may hold more.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._jobs: deque[Job] = deque()
        self._held = 0
        self._wanting: dict[Callable[[], None], int] = {}
        self._changed = threading.Condition()
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """Memory that waiting jobs hold, and the one that is run."""
        return self._held

    def put(self, job: Job, *, on_room: Callable[[], None] | None) -> bool:
        """Add a job; False when there is no room, and then `on_room` is called once when there may be.

        A job that holds no memory is always taken. `on_room` is called on the writer thread.
        """
        with self._changed:
            if job.nbytes and self._held and self._held + job.nbytes > self._limit:
                if on_room is not None:
                    self._wanting[on_room] = job.nbytes
                return False
            self._held += job.nbytes
            self._jobs.append(job)
            self._changed.notify()
            return True

    def take(self, timeout_s: float) -> Job | None:
        """The next job; None when none came in time, or none will come."""
        with self._changed:
            if not self._jobs and not self._closed:
                self._changed.wait(timeout_s)
            return self._jobs.popleft() if self._jobs else None

    def done(self, job: Job) -> None:
        """Let go of what a job held, and tell those who wait for room."""
        with self._changed:
            self._held -= job.nbytes
            told = [
                on_room
                for on_room, nbytes in self._wanting.items()
                if not self._held or self._held + nbytes <= self._limit
            ]
            for on_room in told:
                del self._wanting[on_room]
        for on_room in told:
            on_room()

    def close(self) -> None:
        """Let `take` give what there is and then nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def is_over(self) -> bool:
        """Whether it was closed and everything was taken."""
        return self._closed and not self._jobs
