"""State of each open stream and each unanswered request of a connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Optional, Protocol, TypeVar

from dimstream_client.arguments import waiting_s
from dimstream_client.errors import DimstreamError, StreamError, Timeout
from dimstream_client.messages import Closed, Frame, Message, Open, Result, Updated
from dimstream_client.session import Session


class Receiver(Protocol):
    """Receives the events of one stream; called on the I/O thread.

    Attributes
    ----------
    is_long : bool
        Whether more frames may wait for sending than results for being taken.
    refused : int
        Number of results that did not fit their request.
    """

    is_long: bool
    refused: int

    def deliver(self, result: Result) -> None:
        """Receive a result."""

    def fail(self, error: DimstreamError, *, frames: int, is_final: bool = False) -> None:
        """Receive an error: `frames` frames get no result, and later ones neither if it is final."""

    def changed(self, updated: Updated) -> None:
        """Receive a change by an operator of the server."""

    def free_capacity(self) -> int:
        """Return how many unanswered frames fit."""

    def settled(self) -> int:
        """Return the number of the first result that the program has not processed."""

    def end(self) -> None:
        """Receive the end of the stream."""


class PendingRequest(NamedTuple):
    """A request that is answered by a message of this TYPE, or by ERROR."""

    message: Message
    answer: str
    stream: str | None
    future: Future[Any]
    then: Callable[[Any], None] | None

    def names(self, stream: str | None) -> bool:
        """Whether it concerns this stream, also if another connection has opened it."""
        return stream in (self.stream, getattr(self.message, "stream", None))


T = TypeVar("T")
ReferenceOf = Callable[[int], Optional[Frame]]


@dataclass
class StreamChannel:
    """State of one open stream for the I/O thread; its times are of `time.monotonic`.

    Parameters
    ----------
    request : Open
        Request that opened it.
    reference_of : callable
        Returns an answered frame that the server requests again; None if it was not kept.
    lost_since : float or None
        Time at which the stream was lost; None while it is not lost.
    resume_at : float or None
        Time of the next attempt to resume it; None during an attempt, or if not needed.
    """

    request: Open
    session: Session
    receiver: Receiver
    result_bytes: int
    acked: int
    reference_of: ReferenceOf
    closing: Future[Closed] | None = None
    lost_since: float | None = None
    resume_at: float | None = None
    reported_at: float = 0.0  # when the loss of the server was last logged
    damaged: int = 0  # consecutive answers that were damaged or did not fit
    unanswered: list[PendingRequest] = field(default_factory=list)  # UPDATEs to send again
    refusals: deque[tuple[StreamError, int]] = field(default_factory=deque)

    @property
    def is_lost(self) -> bool:
        """Whether it must be resumed."""
        return self.lost_since is not None

    def resumption(self) -> Open:
        """Return the OPEN that resumes it."""
        opened = self.session.opened
        return replace(
            self.request,
            stream=opened.stream,
            resume_token=opened.resume_token,
            next_result=self.session.next_result,
        )

    def report_refusals(self, *, wait: bool = True) -> None:
        """Report refusals in the order of results: after those of the frames before."""
        oldest = self.session.oldest_seq if wait else None
        while self.refusals and (oldest is None or (self.refusals[0][0].seq or 0) < oldest):
            refusal, frames = self.refusals.popleft()
            self.receiver.fail(refusal, frames=frames)

    @property
    def stream(self) -> str:
        """The server's id of the stream."""
        return self.session.opened.stream


def fail(future: Future[Any], error: DimstreamError) -> None:
    """Set an error on the future, unless it was cancelled."""
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def wait(future: Future[T], timeout_s: float, what: str, *, keep: bool = False) -> T:
    """Return the result of the future; after `Timeout` it is cancelled, except with `keep`."""
    try:
        return future.result(waiting_s(timeout_s))
    except FutureTimeout:
        if not keep:
            future.cancel()
        raise Timeout(f"{what} within {timeout_s:g} s") from None
