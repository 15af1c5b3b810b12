"""The queue of data to write: adding to it never waits, and one thread empties it.

Credit bounds it: the result of a frame in this queue is held back, and no client has more frames under way
than its window.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple


class Job(NamedTuple):
    """A task for the writer thread.

    Parameters
    ----------
    run : callable
        Called in the writer thread.
    nbytes : int
        Memory that is in use until it has run.
    """

    run: Callable[[], None]
    nbytes: int = 0


class WritingQueue:
    """Jobs in order."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """Memory of waiting jobs and the running job, bytes."""
        return self._held

    def put(self, job: Job) -> None:
        """Add a job."""
        with self._changed:
            self._held += job.nbytes
            self._jobs.append(job)
            self._changed.notify()

    def take(self, timeout_s: float) -> Job | None:
        """Return the next job; None if none arrived in time, or none will arrive."""
        with self._changed:
            if not self._jobs and not self._closed:
                self._changed.wait(timeout_s)
            return self._jobs.popleft() if self._jobs else None

    def done(self, job: Job) -> None:
        """Release the memory of a job."""
        with self._changed:
            self._held -= job.nbytes

    def close(self) -> None:
        """Let `take` return the waiting jobs, and then nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def is_over(self) -> bool:
        """Whether it was closed, and all jobs were taken."""
        return self._closed and not self._jobs
