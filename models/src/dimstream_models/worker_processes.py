"""Worker processes on every core, which end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def worker_pool(workers: int | None = None) -> ProcessPoolExecutor:
    """Return a pool of new processes, by default one per core; they end when their parent is killed."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers or os.cpu_count(), mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let this worker end when its parent is killed; otherwise it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # a worker always has a parent

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
