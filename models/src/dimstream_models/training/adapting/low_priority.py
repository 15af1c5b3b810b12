"""Low priority of a process: it uses the processor only when no other process needs it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from dimstream_models.training.errors import NotAvailable

LOWEST: Final = 19
THREADS: Final = Path("/proc/self/task")
LONGEST_S: Final = 2.0
"""Longest rest; the time before it may have included more than one piece of work."""


def yield_to_others(threads: int) -> str:
    """Set the lowest priority and the number of threads of this process; return the priority reached, as
    text.

    On Linux, a priority belongs to a thread, and new threads inherit it from the thread that starts them. So
    it is set for all existing threads. Idle scheduling (`SCHED_IDLE`) is used where the operating system has
    it.

    Raises
    ------
    NotAvailable
        When the operating system has no such priorities.
    """
    import torch

    if not hasattr(os, "nice"):
        raise NotAvailable(
            "expected an operating system with POSIX priorities, got one without: adapt on another machine "
            "with `dimstream-train adapt`, and load the bundle with POST /v1/models"
        )
    torch.set_num_threads(threads)
    if not THREADS.exists():
        os.nice(LOWEST)
        return f"nice {LOWEST}"
    own = [int(path.name) for path in THREADS.iterdir()]
    for thread in own:
        os.setpriority(os.PRIO_PROCESS, thread, LOWEST)
    try:
        for thread in own:
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    except OSError:  # a container may forbid it
        return f"nice {LOWEST}, because the operating system refuses idle scheduling"
    return f"idle scheduling and nice {LOWEST}"


class Rests:
    """Pauses between pieces of work, so that cores compute only for a share of the time.

    Even at the lowest priority and on a separate core, work competes for caches and memory.

    Parameters
    ----------
    share : float
        Share of the time, above 0; 1: no pauses.
    threads : int
        Number of threads that compute at the same time.
    """

    def __init__(self, share: float, threads: int) -> None:
        if not 0 < share <= 1 or threads < 1:
            raise ValueError(f"expected a share above 0 and up to 1, and threads, got {share} and {threads}")
        self._of_work, self._since = (1 / share - 1) / threads, time.process_time()

    def __call__(self) -> float:
        """Rest for as long as the work since the last rest requires, and return that time, s.

        Only processor time counts: time spent waiting for others requires no rest.
        """
        rest = min(LONGEST_S, self._of_work * (time.process_time() - self._since))
        if rest > 0:
            time.sleep(rest)
        self._since = time.process_time()
        return rest
