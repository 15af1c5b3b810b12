"""A process that takes the processor only where nobody else wants it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dimstream_models.training.errors import NotAvailable

LOWEST: Final = 19
THREADS: Final = Path("/proc/self/task")


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
