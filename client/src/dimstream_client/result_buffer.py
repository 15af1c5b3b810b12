"""The buffer between the I/O thread and a program: results of one stream, and room for new frames."""

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
_MOST_PENDING: Final = 64  # errors that were not raised yet
_log = logging.getLogger("dimstream")


class _Event(NamedTuple):
    what: Result | DimstreamError | None
    frames: int  # of errors that leave the stream open


class ResultBuffer:
    """A bounded buffer of the results and errors of one stream.

    `deliver`, `fail`, `end` and `free_capacity` are called on the I/O thread, the others by the program. Each
    counter has one writer.

    Parameters
    ----------
    on_result : callable, optional
        Called on the I/O thread with each result; then no results are stored here.

    Attributes
    ----------
    on_settled : callable or None
        Called with the number of the first result that the program has not processed.
    answered : int
        Number of the first frame whose result has not come.
    is_long : bool
        Whether more frames may wait for sending than results for being taken.
    refused : int
        Number of results that did not fit their request.
    first_failed : int or None
        The first result on which `on_result` failed; it and later ones count as not processed.
    operator_change : Updated or None
        The last change by an operator of the server; None: no change.
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
        """Add a result."""
        self.answered = result.seq + 1
        if self.on_result is None:
            self._delivered += 1
            self._events.put(_Event(result, 1))
            return
        try:
            self.on_result(result)
        except BaseException as error:  # a fault of the program, which must not affect other streams
            self._note_failed_callback(result.seq, error)
        self._settle(result.seq + 1)
        self._free.release()

    def _note_failed_callback(self, seq: int, error: BaseException) -> None:
        """Raise it at the program's next call; this result and later ones count as not processed."""
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
        else:  # also logged, for programs that make no more calls
            _log.error("%s", error)

    def fail(self, error: DimstreamError, *, frames: int, is_final: bool = False) -> None:
        """Add an error, because of which `frames` frames get no result."""
        failed_before = self._failure is not None
        is_final = is_final or error.code in FINAL_CODES
        if is_final and not failed_before:
            self._failure = error
            for _ in range(self.capacity):  # no caller may wait for room any more
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
        """Store a change by an operator; it can come again when the stream is resumed."""
        if updated == self.operator_change:
            return
        self.operator_change = updated
        _log.warning(
            "operator %s has changed stream %s: from frame %d on the model is %s, and the thresholds are %s",
            *(updated.by, updated.stream, updated.from_seq, updated.model.id, updated.thresholds),
        )

    def end(self) -> None:
        """Mark the end of the results."""
        self._events.put(_Event(_END, 0))

    def free_capacity(self) -> int:
        """Return how many unanswered frames fit."""
        return self._results_capacity - (self._delivered - self._taken)

    def settled(self) -> int:
        """Return the number of the first result that the program has not processed."""
        return self._settled

    # --- the program

    def grant(self, capacity: int, *, results: int, settled: int) -> None:
        """Set how many frames may be between sending and taking, and how many results may be stored."""
        self.capacity = capacity
        self._results_capacity = results
        self._settled = self.answered = settled
        for _ in range(capacity):
            self._free.release()

    def wait_for_capacity(self, timeout_s: float) -> bool:
        """Wait until one more frame may be sent; return False after the timeout."""
        if timeout_s <= 0:
            return self._free.acquire(blocking=False)
        return self._free.acquire(timeout=waiting_s(timeout_s))

    def release_capacity(self) -> None:
        """Release the room of a frame that was not sent."""
        self._free.release()

    def raise_pending(self) -> None:
        """Raise errors that were not raised yet, for a program that takes results by callback."""
        if self._errors:
            raise self._errors.popleft()

    def raise_errors(self) -> None:
        """Raise an error that was not raised yet, or the error that ended the stream."""
        self.raise_pending()
        if self._failure is not None:
            raise self._failure

    def take(self, timeout_s: float | None) -> Result | None:
        """Return the next result, or None at the end; raise an error in its place.

        With this call, the result before counts as processed.
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
