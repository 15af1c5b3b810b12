"""What a connection knows of each open stream, and of each request that is not answered yet."""

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
    """Takes what happens on one stream; called on the I/O thread.

    Attributes
    ----------
    is_long : bool
        Whether more frames may wait to be sent than results to be taken.
    refused : int
        Results that came and did not fit what was asked.
    """

    is_long: bool
    refused: int

    def deliver(self, result: Result) -> None:
        """Take a result."""

    def fail(self, error: DimstreamError, *, frames: int, is_final: bool = False) -> None:
        """Take an error; `frames` frames will get no result because of it, and if final, none later."""

    def changed(self, updated: Updated) -> None:
        """Take note of what an operator of the server has changed."""

    def free_capacity(self) -> int:
        """Return for how many frames, not answered yet, there is room."""

    def settled(self) -> int:
        """Return the number of the first result that the program has not dealt with yet."""

    def end(self) -> None:
        """Nothing more will come."""


class PendingRequest(NamedTuple):
    """A request that is to be answered by a message of this TYPE, or by ERROR."""

    message: Message
    answer: str
    stream: str | None
    future: Future[Any]
    then: Callable[[Any], None] | None

    def names(self, stream: str | None) -> bool:
        """Whether it is about this stream, if only as one that another connection has opened."""
        return stream in (self.stream, getattr(self.message, "stream", None))


T = TypeVar("T")
ReferenceOf = Callable[[int], Optional[Frame]]


@dataclass
class StreamChannel:
    """One open stream, as the I/O thread sees it; its times are by time.monotonic.

    Parameters
    ----------
    request : Open
        With which it was opened.
    reference_of : callable
        Gives a frame that was answered before, when the server wants it again; None when it is not kept.
    lost_since : float or None
        Since when the server does not know it; None while it does.
    resume_at : float or None
        When to try to resume it; None while that is being tried, or is not needed.
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
    reported_at: float = 0.0  # when it was last said that the server is away
    damaged: int = 0  # answers in a row that came damaged, or did not fit what was asked
    unanswered: list[PendingRequest] = field(default_factory=list)  # UPDATEs that are to be sent again
    refusals: deque[tuple[StreamError, int]] = field(default_factory=deque)

    @property
    def is_lost(self) -> bool:
        """Whether the server does not know it at present."""
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
        """Pass refusals on in the place of their results: behind those of the frames before."""
        oldest = self.session.oldest_seq if wait else None
        while self.refusals and (oldest is None or (self.refusals[0][0].seq or 0) < oldest):
            refusal, frames = self.refusals.popleft()
            self.receiver.fail(refusal, frames=frames)

    @property
    def stream(self) -> str:
        """The server's name for it."""
        return self.session.opened.stream


def fail(future: Future[Any], error: DimstreamError) -> None:
    """Give the future an error, unless nobody wants it any more."""
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def wait(future: Future[T], timeout_s: float, what: str, *, keep: bool = False) -> T:
    """Return what the future holds, or raise `Timeout` and want it no more, unless it is to be kept."""
    try:
        return future.result(waiting_s(timeout_s))
    except FutureTimeout:
        if not keep:
            future.cancel()
        raise Timeout(f"{what} within {timeout_s:g} s") from None
