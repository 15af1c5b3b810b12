"""What a connection knows of each open stream, and of each request that is not answered yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from dimstream_client.errors import DimstreamError, StreamError
from dimstream_client.messages import Closed, Result
from dimstream_client.session import Session


class Receiver(Protocol):
    """Takes what happens on one stream; called on the I/O thread."""

    def deliver(self, result: Result) -> None:
        """Take a result."""

    def fail(self, error: DimstreamError, *, frames: int) -> None:
        """Take an error; `frames` frames will get no result because of it."""

    def room(self) -> int:
        """Return for how many frames, not answered yet, there is room."""

    def end(self) -> None:
        """Nothing more will come."""


@dataclass
class Line:
    """One open stream, as the I/O thread sees it."""

    session: Session
    receiver: Receiver
    result_bytes: int
    acked: int
    closing: Future[Closed] | None = None
    retry_at: float = 0.0  # by time.monotonic, when the server was too busy

    refusals: deque[tuple[StreamError, int]] = field(default_factory=deque)

    def tell_refusals(self, *, wait: bool = True) -> None:
        """Pass refusals on in the place of their results: behind those of the frames before."""
        oldest = self.session.oldest_owed if wait else None
        while self.refusals and (oldest is None or (self.refusals[0][0].seq or 0) < oldest):
            refusal, frames = self.refusals.popleft()
            self.receiver.fail(refusal, frames=frames)

    @property
    def stream(self) -> str:
        """The server's name for it."""
        return self.session.opened.stream


class Asked(NamedTuple):
    """A request that is to be answered by a message of this TYPE, or by ERROR."""

    answer: str
    stream: str | None
    future: Future[Any]
    then: Callable[[Any], None] | None


def fail(future: Future[Any], error: DimstreamError) -> None:
    """Give the future an error, unless nobody wants it any more."""
    if future.set_running_or_notify_cancel():
        future.set_exception(error)
