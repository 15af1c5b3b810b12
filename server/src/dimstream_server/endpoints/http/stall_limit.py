"""Connections, of HTTP and WebSocket alike, end when their peers do not read, or do not close, in time."""

import asyncio
from typing import ClassVar

from dimstream_server.endpoints.http.connections import ConnectionLimits
from dimstream_server.endpoints.http.requests import ProblemResponder


class StallLimit(asyncio.Protocol):
    """The part of a protocol that knows since when its peer has stalled; uvicorn's class is the next base."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    client: tuple[str, int] | None
    _limits: ConnectionLimits
    _responder: ProblemResponder
    _not_read: ClassVar[str]
    """For the log, when its peer did not read in time."""
    _unsent_since: float | None = None
    _closing_since: float | None = None

    def pause_writing(self) -> None:
        """Wait until the peer reads."""
        self._unsent_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on writing."""
        self._unsent_since = None
        super().resume_writing()

    def end_if_stalled(self, now: float) -> bool:
        """Whether it closes, or has ended now: at the end of the time to read, or to close."""
        if self.transport.is_closing():
            self._closing_since = now if self._closing_since is None else self._closing_since
            if now - self._closing_since > self._limits.stall_s:
                self.abort()
            return True
        if self._unsent_since is not None and now - self._unsent_since > self._limits.stall_s:
            self._responder.count("request_timeout", self.address, self._not_read)
            self.abort()
            return True
        return False

    def abort(self) -> None:
        """End it at once."""
        self.transport.abort()

    @property
    def address(self) -> str:
        """Where the peer is."""
        return self.client[0] if self.client else "unknown"
