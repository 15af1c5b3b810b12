"""Where the I/O thread leaves the results of one stream, and where who sends waits for room."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from dimstream_client.arguments import waiting_s
from dimstream_client.errors import Code, DimstreamError, Timeout
from dimstream_client.messages import Result, Updated
from dimstream_client.session import FINAL_CODES

OnResult = Callable[[Result], None]

_END: Final = None
_MOST_PENDING: Final = 64  # errors that wait to be told
_log = logging.getLogger("dimstream")


class _Event(NamedTuple):
    what: Result | DimstreamError | None
    frames: int  # that leave the stream with it


class ResultBuffer:
    """Results and errors of one stream, of bounded number.

    `deliver`, `fail`, `end` and `free_capacity` are called on the I/O thread, the others by the program.
    Each counter has one writer.

    Parameters
    ----------
    on_result : callable, optional
        Called on the I/O thread with each result; then nothing is left here to be taken.

    Attributes
    ----------
    on_settled : callable or None
        Told the first result that the program has not dealt with yet.
    answered : int
        The first frame whose result has not come.
    is_long : bool
        Whether more frames may wait to be sent than results to be taken.
    refused : int
        Results that came and did not fit what was asked.
    first_failed : int or None
        The first result on which `on_result` failed; it and those behind it are not dealt with.
    operator_change : Updated or None
        What an operator of the server has changed last; None: nothing.
    """

    def __init__(self, on_result: OnResult | None) -> None:
        self.on_result = on_result
        self.on_settled: Callable[[int], None] | None = None
        self.is_long = False
        self.refused = 0
        self.first_failed: int | None = None
        self.operator_change: Updated | None = None
        self.capacity = 0
        self._results_capacity = 0
        self._settled = self.answered = 0
        self._taken_last: int | None = None
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._errors: deque[DimstreamError] = deque()
        self._failure: DimstreamError | None = None
        self._free = threading.Semaphore(0)
        self._delivered = 0
        self._taken = 0

    # --- the I/O thread

    def deliver(self, result: Result) -> None:
        """Take a result."""
        self.answered = result.seq + 1
        if self.on_result is None:
            self._delivered += 1
            self._events.put(_Event(result, 1))
            return
        try:
            self.on_result(result)
        except BaseException as error:  # the program's own fault, which no other stream may feel
            self._note_failed_callback(result.seq, error)
        self._settle(result.seq + 1)
        self._free.release()

    def _note_failed_callback(self, seq: int, error: BaseException) -> None:
        """Tell it at the program's next call; the result counts as not dealt with, nor do those behind it."""
        detail = f"on_result failed on frame {seq}: {error!r}"
        _log.error("%s", detail, exc_info=error)
        problem = DimstreamError(Code.INTERNAL, detail)
        problem.__cause__ = error
        self._remember(problem)
        if self.first_failed is None:
            self.first_failed = seq

    def _remember(self, error: DimstreamError) -> None:
        if len(self._errors) < _MOST_PENDING:
            self._errors.append(error)
        else:  # a program that never calls learns nothing; the log has it
            _log.error("%s", error)

    def fail(self, error: DimstreamError, *, frames: int, is_final: bool = False) -> None:
        """Take an error; `frames` frames will get no result because of it."""
        failed_before = self._failure is not None
        is_final = is_final or error.code in FINAL_CODES
        if is_final and not failed_before:
            self._failure = error
            for _ in range(self.capacity):  # nobody may wait for room any more
                self._free.release()
        if self.on_result is None and not failed_before:
            if not frames and not is_final and self._events.qsize() > _MOST_PENDING + self._results_capacity:
                _log.error("%s", error)
                return
            self._delivered += frames
            self._events.put(_Event(error, frames))
        elif not failed_before and not is_final:
            self._remember(error)
            for _ in range(frames):
                self._free.release()

    def changed(self, updated: Updated) -> None:
        """Take note of what an operator has changed; it may come again when the stream is resumed."""
        if updated == self.operator_change:
            return
        self.operator_change = updated
        _log.warning(
            "operator %s has changed stream %s: from frame %d on the model is %s, and the thresholds are %s",
            *(updated.by, updated.stream, updated.from_seq, updated.model.id, updated.thresholds),
        )

    def end(self) -> None:
        """Take note that nothing more comes."""
        self._events.put(_Event(_END, 0))

    def free_capacity(self) -> int:
        """Return for how many frames, not answered yet, there is room."""
        return self._results_capacity - (self._delivered - self._taken)

    def settled(self) -> int:
        """Return the number of the first result that the program has not dealt with yet."""
        return self._settled

    # --- the program

    def grant(self, capacity: int, *, results: int, settled: int) -> None:
        """Allow so many frames between sending and taking, and so many results that are not taken."""
        self.capacity = capacity
        self._results_capacity = results
        self._settled = self.answered = settled
        for _ in range(capacity):
            self._free.release()

    def wait_for_capacity(self, timeout_s: float) -> bool:
        """Wait until one more frame may be sent; False when the time is up."""
        if timeout_s <= 0:
            return self._free.acquire(blocking=False)
        return self._free.acquire(timeout=waiting_s(timeout_s))

    def release_capacity(self) -> None:
        """Take note that a frame for which there was room was not sent."""
        self._free.release()

    def raise_pending(self) -> None:
        """Raise what a program that takes results by callback was not told yet."""
        if self._errors:
            raise self._errors.popleft()

    def raise_errors(self) -> None:
        """Raise what was not told yet, or why the stream is over."""
        self.raise_pending()
        if self._failure is not None:
            raise self._failure

    def take(self, timeout_s: float | None) -> Result | None:
        """Return the next result, or None when nothing more comes; raise an error in its place.

        Who comes for the next has dealt with the one before.
        """
        if self._taken_last is not None:
            self._settle(self._taken_last + 1)
            self._taken_last = None
        try:
            what, frames = self._events.get(timeout=None if timeout_s is None else waiting_s(timeout_s))
        except queue.Empty:
            raise Timeout(f"no result came for {timeout_s:g} s") from None
        self._taken += frames
        for _ in range(frames):
            self._free.release()
        if isinstance(what, DimstreamError):
            raise what
        if what is _END:
            self.end()  # so that it is found again
            return None
        self._taken_last = what.seq
        return what

    def _settle(self, next_result: int) -> None:
        if self.first_failed is not None:
            next_result = min(next_result, self.first_failed)
        if self.on_settled is not None:
            self.on_settled(next_result)
        self._settled = max(self._settled, next_result)
