"""The thread of the journal: nobody else waits for its disk.

What is to be read and written is done in the order in which it was asked for. All that waits is committed
together, and who asked hears of it behind the commit: what is answered then survives a server that is killed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

from dimstream_server.streams.journal import Journal
from dimstream_server.streams.journal_database import LOOK_S

NAME: Final = "dimstream-journal"
_MOST_TOGETHER: Final = 64  # in one commit, for which the first of them waits
T = TypeVar("T")
_log = logging.getLogger(__name__)


class _Job(NamedTuple):
    """What is to be done, and who is told on the loop: `then` what it gave, `failed` what it raised."""

    work: Callable[[Journal], Any] | None
    then: Callable[[Any], object] | None
    failed: Callable[[Exception], object] | None


class JournalThread:
    """Owns the journal of a server, from opening to closing.

    Its queue is bounded by what can be under way: a frame in flight has one job, a message that its sender
    waits for one, a stream that is opened or closed two or three, and an UPDATE one, of which a stream has a
    limited number.

    Parameters
    ----------
    path : Path or None
        Of the database; None keeps it in memory, where it ends with the server.

    Raises
    ------
    JournalError
        It cannot be made or written, is of another version, or another server has it.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        opened: Future[Journal] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name=NAME, daemon=True)
        self._thread.start()
        self._journal = opened.result()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell on this loop, from now on, what was done."""
        self._loop = loop

    @property
    def problem(self) -> str | None:
        """Why streams would not survive this server at present; None while they would."""
        return self._journal.problem

    def keeps(self, stream: str) -> bool:
        """Whether a stream can be resumed, as far as what was asked for has been done."""
        return stream in self._journal.streams

    def put(
        self,
        work: Callable[[Journal], T] | None,
        then: Callable[[T], object] | None = None,
        failed: Callable[[Exception], object] | None = None,
    ) -> None:
        """Have something done, from any thread; never waits.

        Parameters
        ----------
        work : callable or None
            Called with the journal, on its thread. None: only `then` is wanted, in its order.
        then, failed : callable, optional
            Called on the loop once all before it is committed: with what `work` gave, or with what it raised.
        """
        self._jobs.put(_Job(work, then, failed))

    async def ask(self, work: Callable[[Journal], T]) -> T:
        """What `work` gives, once that is committed. The work is done even if nobody waits any more."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.put(
            work,
            lambda given: None if answer.done() else answer.set_result(given),
            lambda error: None if answer.done() else answer.set_exception(error),
        )
        return await answer

    def close(self) -> None:
        """Do all that was asked for, and close the journal."""
        self._jobs.put(None)
        self._thread.join()

    # --- its thread

    def _run(self, opened: Future[Journal]) -> None:
        try:
            journal = Journal(self.path)
        except BaseException as error:
            opened.set_exception(error)
            return
        opened.set_result(journal)
        try:
            while self._work(journal, self._waiting()):
                pass
        finally:
            journal.close()

    def _waiting(self) -> list[_Job | None]:
        """What waits to be done; empty when nothing came for a while. None: nothing will come any more."""
        jobs: list[_Job | None] = []
        with suppress(Empty):
            jobs.append(self._jobs.get(timeout=LOOK_S))
            while jobs[-1] is not None and len(jobs) < _MOST_TOGETHER:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _work(self, journal: Journal, waiting: list[_Job | None]) -> bool:
        """Do it all, and tell; False when that was the last."""
        jobs = [job for job in waiting if job is not None]
        try:
            if not jobs:
                journal.look()
            else:
                with journal.together():
                    done = [_done(job, journal) for job in jobs]
                self._tell(done)
        except Exception as error:  # the next jobs may go well
            _log.exception("the journal failed event=internal_error")
            self._tell([_failed(job, error) for job in jobs])
        return None not in waiting

    def _tell(self, callbacks: list[Callable[[], object]]) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            self._loop.call_soon_threadsafe(_call_all, callbacks)


def _done(job: _Job, journal: Journal) -> Callable[[], object]:
    """Do a job; gives what is to be called once that is committed."""
    try:
        given = None if job.work is None else job.work(journal)
    except Exception as error:
        return _failed(job, error)
    return _nothing if job.then is None else partial(job.then, given)


def _failed(job: _Job, error: Exception) -> Callable[[], object]:
    if job.failed is not None:
        return partial(job.failed, error)
    _log.error("the journal failed event=internal_error", exc_info=error)
    return _nothing


def _nothing() -> None:
    """Nobody wants to know."""


def _call_all(callbacks: list[Callable[[], object]]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:  # of one stream; the others are told all the same
            _log.exception("a fault of the service event=internal_error")
