"""The requests that the server has not answered, in the order in which they were sent."""

from __future__ import annotations

from collections import deque

from dimstream_client.messages import Pong
from dimstream_client.stream_channel import PendingRequest


class PendingRequests:
    """Unanswered requests; DIM1 answers requests of one kind in order."""

    def __init__(self) -> None:
        self._pending: deque[PendingRequest] = deque()

    def __bool__(self) -> bool:
        return bool(self._pending)

    def add(self, pending: PendingRequest) -> None:
        """Add a request that was sent."""
        self._pending.append(pending)

    def answered(self, kind: str, stream: str | None) -> PendingRequest | None:
        """Remove and return the oldest request that a message of this TYPE answers; None if there is none."""
        return self._take(next((a for a in self._pending if a.answer == kind and a.stream == stream), None))

    def refused(self, stream: str | None) -> PendingRequest | None:
        """Remove and return the request that an ERROR without `seq` refuses."""
        return self._take(next((a for a in self._pending if a.answer != Pong.TYPE and a.names(stream)), None))

    def of(self, stream: str) -> list[PendingRequest]:
        """Remove and return all requests about an open stream."""
        return self._take_all([pending for pending in self._pending if pending.stream == stream])

    def of_none(self) -> list[PendingRequest]:
        """Remove and return all requests that concern no open stream."""
        return self._take_all([pending for pending in self._pending if pending.stream is None])

    def _take(self, pending: PendingRequest | None) -> PendingRequest | None:
        if pending is not None:
            self._pending.remove(pending)
        return pending

    def _take_all(self, found: list[PendingRequest]) -> list[PendingRequest]:
        for pending in found:
            self._pending.remove(pending)
        return found
