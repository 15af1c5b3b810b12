"""What waits to be written: filled without waiting, emptied by one thread.

Credit bounds it: a frame that waits here has its result withheld, and no client has more frames on their way
than its window.
"""

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
    nbytes: int = 0


class WritingQueue:
    """Jobs in their order."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._closed = False

    @property
    def held_bytes(self) -> int:
        """Memory that waiting jobs hold, and the one that is run."""
        return self._held

    def put(self, job: Job) -> None:
        """Add a job."""
        with self._changed:
            self._held += job.nbytes
            self._jobs.append(job)
            self._changed.notify()

    def take(self, timeout_s: float) -> Job | None:
        """The next job; None when none came in time, or none will come."""
        with self._changed:
            if not self._jobs and not self._closed:
                self._changed.wait(timeout_s)
            return self._jobs.popleft() if self._jobs else None

    def done(self, job: Job) -> None:
        """Let go of what a job held."""
        with self._changed:
            self._held -= job.nbytes

    def close(self) -> None:
        """Let `take` give what there is and then nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def is_over(self) -> bool:
        """Whether it was closed and everything was taken."""
        return self._closed and not self._jobs
