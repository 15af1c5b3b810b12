"""A WebSocket on one connection: uvicorn's protocol on `websockets`, within the limits of all connections."""

import logging
from http import HTTPStatus
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame
from websockets.http11 import Request

from dimstream_server.endpoints.http.connections import ConnectionLimits, Connections, Rank
from dimstream_server.endpoints.http.requests import ProblemResponder
from dimstream_server.endpoints.http.stall_limit import StallLimit
from dimstream_server.endpoints.http.websocket_fragments import PiecewiseSending

LARGEST_MESSAGE: Final = 8192  # from a viewer, bytes
LARGEST_LINE: Final = 8000  # of a head: what `websockets` takes, which hangs on more
MOST_HEADERS: Final = 128
BYTES_PER_S: Final = 8192
"""What a viewer may send in a second; it needs some hundred."""
_MOST_FRAGMENTS: Final = 16
_POLICY_VIOLATION: Final = 1008
_NO_TEXT: Final = 1007
_QUIET: Final = logging.getLogger("uvicorn.error.websocket")  # uvicorn writes a line for each connection
_QUIET.setLevel(logging.ERROR)


class WebSocketProtocol(PiecewiseSending, StallLimit, WebSocketsSansIOProtocol):
    """Counts among the connections, and ends when its peer reads nothing, or sends more than viewers need."""

    _not_read = "a viewer did not read in time"

    def __init__(
        self,
        connections: Connections,
        limits: ConnectionLimits,
        responder: ProblemResponder,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.logger = _QUIET
        self.conn.logger, self.conn.debug = _QUIET, False
        self._all = connections
        self._limits = limits
        self._responder = responder
        self._since = self.loop.time()
        self._allowed_at = self._since
        self._allowed: float = 0

    def connection_made(self, transport: Any) -> None:
        """Begin."""
        super().connection_made(transport)
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._all.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take the request that asked for the WebSocket, and then what comes within the allowance."""
        if not self.handshake_initiated:
            super().data_received(data)
            return
        now = self.loop.time()
        grown = self._allowed + BYTES_PER_S * (now - self._allowed_at)
        self._allowed, self._allowed_at = min(BYTES_PER_S, grown) - len(data), now
        if self._allowed < -BYTES_PER_S:
            self._fail(f"expected at most {BYTES_PER_S} bytes a second")
            return
        super().data_received(data)

    def handle_connect(self, event: Request) -> None:
        """Answer the request that asked for the WebSocket."""
        super().handle_connect(event)
        if self.response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._responder.count("bad_request", self.address, "expected the handshake of RFC 6455")

    def handle_cont(self, event: Frame) -> None:
        """Take a further piece of a message."""
        if len(self.frames) >= _MOST_FRAGMENTS:
            self._fail(f"expected at most {_MOST_FRAGMENTS} pieces of a message")
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Pass a whole message on."""
        if self.curr_msg_data_type == "text" and not _is_utf8(b"".join(self.frames)):
            self._fail("expected text in UTF-8", code=_NO_TEXT)
            return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        """End one that broke the protocol; before it was let in there is nobody to be told."""
        if self.conn.close_sent is None:
            self._responder.count("bad_request", self.address, "a viewer spoke before it was let in")
            self.abort()
            return
        super().handle_parser_exception()

    def rank(self, now: float) -> Rank | None:
        """Where it stands among those that may be closed to make room: after all that are idle or slow."""
        return Rank(0, 0) if self.transport.is_closing() else Rank(4, self._since)

    def end_if_late(self, now: float) -> None:
        """End it when it does not read, or does not close."""
        self.end_if_stalled(now)

    def _fail(self, reason: str, *, code: int = _POLICY_VIOLATION) -> None:
        self._responder.count("bad_request", self.address, f"a viewer broke a rule: {reason}")
        if not self.transport.is_closing():
            self.conn.fail(code, reason)
            self.handle_parser_exception()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
