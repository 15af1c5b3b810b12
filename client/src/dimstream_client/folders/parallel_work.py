"""Several threads that work off one list, and end together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

_LOOK_EVERY_S: Final = 0.2  # so that Ctrl-C is heard
_END_S: Final = 10.0  # that the others have to end in; one that waits for a server may take longer


class Stopped(BaseException):
    """Another thread has failed, or the program is interrupted: what is begun stays to be gone on with."""


def work_together(threads: int, work: Callable[[], None], stop: threading.Event) -> None:
    """Have so many threads work until there is nothing left; raise what the first that fails raises.

    Parameters
    ----------
    work : callable
        Works until nothing is left; once `stop` is set it raises `Stopped`.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except Stopped:
            pass
        except BaseException as error:  # raised again on the thread that waits
            failures.append(error)
            stop.set()

    # daemons: one that waits for a server for ever would keep an interrupted program
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
