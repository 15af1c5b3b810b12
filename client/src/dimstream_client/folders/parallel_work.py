"""Several threads that process one list, and end together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

_LOOK_EVERY_S: Final = 0.2  # so that Ctrl-C is handled
_END_S: Final = 10.0  # seconds for the others to end; one that waits for a server may take longer


class Stopped(BaseException):
    """Another thread has failed, or the program was interrupted; unfinished outputs stay for continuation."""


def work_together(threads: int, work: Callable[[], None], stop: threading.Event) -> None:
    """Run `work` on several threads until nothing is left; raise the first error of a thread.

    Parameters
    ----------
    work : callable
        Works until nothing is left; raises `Stopped` after `stop` was set.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:  # raised again on the waiting thread
            failures.append(error)
            stop.set()

    # daemons: a thread that waits for a server without limit would keep an interrupted program alive
    workers = [threading.Thread(target=run, name=f"dimstream-file-{n}", daemon=True) for n in range(threads)]
    for worker in workers:
        worker.start()
    try:
        while any(worker.is_alive() for worker in workers) and not stop.is_set():
            for worker in workers:
                worker.join(_LOOK_EVERY_S / threads)
    finally:
        stop.set()
        for worker in workers:
            worker.join(_END_S)
    if failures:
        raise failures[0]
