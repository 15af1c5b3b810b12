"""The thread of the journal, so that no other thread waits for its disk.

Jobs are done in the order of their requests. All waiting jobs are committed together, and callers are
notified after the commit. So a confirmed job survives if the server is killed.
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
_MOST_TOGETHER: Final = 64  # most jobs in one commit, for which the first of them waits
T = TypeVar("T")
_log = logging.getLogger(__name__)


class _Job(NamedTuple):
    """A job, and its callbacks on the loop: `then` gets the result, `failed` the error."""

    work: Callable[[Journal], Any] | None
    then: Callable[[Any], object] | None
    failed: Callable[[Exception], object] | None


class JournalThread:
    """Owns the journal of a server, from opening to closing.

    Its queue is bounded: a frame in flight has one job, and so has a message for which its sender waits. A
    stream that is opened or closed has two or three jobs, and each UPDATE one; their number is limited.

    Parameters
    ----------
    path : Path or None
        Path of the database; None: it is in memory, and ends with the server.

    Raises
    ------
    JournalError
        When it cannot be created or written, has another version, or another server uses it.
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
        """Call the callbacks on this loop from now on."""
        self._loop = loop

    @property
    def problem(self) -> str | None:
        """Why streams would not survive a crash of this server now; None while they would."""
        return self._journal.problem

    def keeps(self, stream: str) -> bool:
        """Whether a stream can be resumed, after all jobs so far."""
        return stream in self._journal.streams

    def put(
        self,
        work: Callable[[Journal], T] | None,
        then: Callable[[T], object] | None = None,
        failed: Callable[[Exception], object] | None = None,
    ) -> None:
        """Add a job, from any thread; never waits.

        Parameters
        ----------
        work : callable or None
            Called with the journal, in its thread. None: only `then` is called, in order.
        then, failed : callable, optional
            Called on the loop after all earlier jobs are committed: with the result of `work`, or with its
            error.
        """
        self._jobs.put(_Job(work, then, failed))

    async def ask(self, work: Callable[[Journal], T]) -> T:
        """Return the result of `work` after it is committed. The work is done even if the caller no longer
        waits."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.put(
            work,
            lambda given: None if answer.done() else answer.set_result(given),
            lambda error: None if answer.done() else answer.set_exception(error),
        )
        return await answer

    def close(self) -> None:
        """Do all waiting jobs, and close the journal."""
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
        """Return the waiting jobs; empty if none arrived for a while. None in the list: there will be no more
        jobs."""
        jobs: list[_Job | None] = []
        with suppress(Empty):
            jobs.append(self._jobs.get(timeout=LOOK_S))
            while jobs[-1] is not None and len(jobs) < _MOST_TOGETHER:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _work(self, journal: Journal, waiting: list[_Job | None]) -> bool:
        """Do all these jobs, and call their callbacks; return False after the last job."""
        jobs = [job for job in waiting if job is not None]
        try:
            if not jobs:
                journal.look()
            else:
                with journal.together():
                    done = [_done(job, journal) for job in jobs]
                self._tell(done)
        except Exception as error:  # the next jobs may succeed
            _log.exception("the journal failed event=internal_error")
            self._tell([_failed(job, error) for job in jobs])
        return None not in waiting

    def _tell(self, callbacks: list[Callable[[], object]]) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has ended, so nothing waits
            self._loop.call_soon_threadsafe(_call_all, callbacks)


def _done(job: _Job, journal: Journal) -> Callable[[], object]:
    """Do a job; return the callback for after the commit."""
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
    """Do nothing, for jobs without a callback."""


def _call_all(callbacks: list[Callable[[], object]]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:  # of one stream; the callbacks of others are called nevertheless
            _log.exception("a fault of the service event=internal_error")
