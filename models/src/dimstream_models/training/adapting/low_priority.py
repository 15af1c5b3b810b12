"""A process that takes the processor only where nobody else wants it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from dimstream_models.training.errors import NotAvailable

LOWEST: Final = 19
THREADS: Final = Path("/proc/self/task")
LONGEST_S: Final = 2.0
"""Of one rest: what came before it may have been more than one piece of work."""


def yield_to_others(threads: int) -> str:
    """Give this process the lowest priority and so many threads; what was reached, in words.

    On Linux a priority belongs to a thread, and new ones take after the thread that begins them: so it is set
    for all that there are. Idle scheduling (`SCHED_IDLE`) is asked for where the system has it.

    Raises
    ------
    NotAvailable
        When the system has no such priorities.
    """
    import torch

    if not hasattr(os, "nice"):
        raise NotAvailable(
            "expected a system with the priorities of POSIX, got one without: adapt on another machine with"
            " `dimstream-train adapt`, and load the bundle by POST /v1/models"
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
        return f"nice {LOWEST}, as the system refuses idle scheduling"
    return f"idle scheduling and nice {LOWEST}"


class Rests:
    """Pauses between pieces of work, after which cores have computed a share of the time.

    Even at the lowest priority, and on a core of its own, work takes caches and memory from others.

    Parameters
    ----------
    share : float
        Of the time, above 0; 1: no pauses.
    threads : int
        That compute at once.
    """

    def __init__(self, share: float, threads: int) -> None:
        if not 0 < share <= 1 or threads < 1:
            raise ValueError(f"expected a share above 0 and up to 1, and threads, got {share} and {threads}")
        self._of_work, self._since = (1 / share - 1) / threads, time.process_time()

    def __call__(self) -> float:
        """Rest for as long as the work since the last rest asks, and return that, s.

        What counts is the time of the processor: who had to wait for others need not rest for it.
        """
        rest = min(LONGEST_S, self._of_work * (time.process_time() - self._since))
        if rest > 0:
            time.sleep(rest)
        self._since = time.process_time()
        return rest
