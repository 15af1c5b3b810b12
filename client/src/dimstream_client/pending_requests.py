"""The requests that a server has not answered yet, in the order in which they were sent."""

from __future__ import annotations

from collections import deque

from dimstream_client.lines import Asked
from dimstream_client.messages import Pong


class PendingRequests:
    """Requests without an answer; DIM1 answers those of one kind in their order."""

    def __init__(self) -> None:
        self._asked: deque[Asked] = deque()

    def __bool__(self) -> bool:
        return bool(self._asked)

    def add(self, asked: Asked) -> None:
        """Take note that a request was sent."""
        self._asked.append(asked)

    def answered(self, kind: str, stream: str | None) -> Asked | None:
        """Take out the oldest request that a message of this TYPE answers; None when nobody asked."""
        return self._take(next((a for a in self._asked if a.answer == kind and a.stream == stream), None))

    def refused(self, stream: str | None) -> Asked | None:
        """Take out the request that an ERROR without `seq` refuses."""
        return self._take(next((a for a in self._asked if a.answer != Pong.TYPE and a.names(stream)), None))

    def of(self, stream: str) -> list[Asked]:
        """Take out all requests about an open stream."""
        return self._take_all([asked for asked in self._asked if asked.stream == stream])

    def of_none(self) -> list[Asked]:
        """Take out all requests that are about no open stream."""
        return self._take_all([asked for asked in self._asked if asked.stream is None])

    def _take(self, asked: Asked | None) -> Asked | None:
        if asked is not None:
            self._asked.remove(asked)
        return asked

    def _take_all(self, found: list[Asked]) -> list[Asked]:
        for asked in found:
            self._asked.remove(asked)
        return found
