"""HTTP/1.1 on one connection: uvicorn's protocol on h11, with refusals that are problems and are logged.

h11 bounds the head, the trailers and what is pipelined by itself. What reaches the routes is refused there;
this is for bytes that never become a request.
"""

import logging
import string
import time
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import h11
from fastapi import Response
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from dimstream_server.endpoints.http.connections import ConnectionLimits, Connections, Rank
from dimstream_server.endpoints.http.requests import ProblemResponder
from dimstream_server.endpoints.http.stall_limit import StallLimit
from dimstream_server.endpoints.http.websocket import LARGEST_LINE, MOST_HEADERS, WebSocketProtocol
from dimstream_server.problem_details import error_message

MAX_HEAD_BYTES: Final = 65_536
MAX_HEADERS: Final = 256
WEBSOCKET_PATH: Final = b"/live/ws"
_METHOD_START: Final = frozenset(b"!#$%&'*+-.^_`|~" + string.ascii_letters.encode())
_FAIR_S: Final = 2.0  # after which the speed of a body says something
_EVENTS_PER_TURN: Final = (
    512  # of h11, about 5 microseconds each; a read of 256 KiB in chunks of 1 KiB has 256
)
# uvicorn warns once a request, however many come
_QUIET: Final = logging.getLogger("uvicorn.error.http")
_QUIET.setLevel(logging.ERROR)


class HttpProtocol(StallLimit, H11Protocol):
    """Refuses what is no HTTP, and a head, or trailers, of more than `MAX_HEAD_BYTES`.

    A refused request is not passed on; when it has begun already, its route is told that the client has gone.
    One connection handles `_EVENTS_PER_TURN` events at once. Connections that have more wait for each other,
    and read nothing meanwhile: a body in chunks of one byte costs h11 a hundred times as much as another.
    """

    conn: "_Connection"
    flow: "_Flow"
    _not_read = "the answer was not taken in time"

    def __init__(
        self, connections: Connections, limits: ConnectionLimits, responder: ProblemResponder, *uvicorn: Any
    ) -> None:
        super().__init__(*uvicorn)
        self.conn = _Connection(h11.SERVER, MAX_HEAD_BYTES)
        self.logger = _QUIET
        self._connections = connections
        self._limits = limits
        self._responder = responder
        self.ws_protocol_class = partial(WebSocketProtocol, connections, limits, responder)  # type: ignore[assignment]
        self._is_upgraded = False
        self._is_turn_due = False
        self._waiting_since = self.loop.time()  # for a request
        self._began: float | None = None  # to send one
        self._arrived = 0  # bytes of it

    def connection_made(self, transport: Any) -> None:
        """Begin to read."""
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        if self._began is None:
            self._began = self.loop.time()
        self._arrived += len(data)
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._waiting_since = self.loop.time()
        self._began = None
        self._arrived = 0
        super().on_response_complete()

    def rank(self, now: float) -> Rank | None:
        """Where it stands among those that may be closed to make room; None: its request is worked on."""
        if self.transport.is_closing():
            return Rank(0, 0)
        if self._is_waiting:
            is_between = self.cycle is not None and self._began is None
            return Rank(2 if is_between else 1, self._waiting_since)
        if self.cycle.more_body and not self.cycle.response_started and self._is_slow(now):
            return Rank(3, self._began or 0)
        return None

    def end_if_late(self, now: float) -> None:
        """End it when its time is over."""
        if not self.end_if_stalled(now) and self._is_waiting:
            self._end_if_no_request(now)

    def handle_events(self) -> None:
        """Handle what has arrived: some of it now, and the rest in the next turn."""
        if self.transport.is_closing() or self._is_upgraded:
            return
        self.conn.events_left = _EVENTS_PER_TURN
        began = time.perf_counter()
        super().handle_events()
        if self._is_upgraded or self.transport.is_closing():
            return
        if not self.conn.events_left and not self._is_turn_due:
            self._is_turn_due = True
            self.flow.hold()
            now = self.loop.time()
            self.loop.call_at(self._connections.next_turn(now, time.perf_counter() - began), self._go_on)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over."""
        longest = max(len(name) + len(value) for name, value in event.headers)
        if max(longest, len(event.target)) > LARGEST_LINE or len(event.headers) > MOST_HEADERS:
            limit = f"lines of at most {LARGEST_LINE} bytes and {MOST_HEADERS} headers"
            self.refuse("head_too_large", f"expected {limit} in the head of a WebSocket")
            return
        self._is_upgraded = True
        self._connections.remove(self)
        super().handle_websocket_upgrade(event)
        upgraded = self.transport.get_protocol()
        if isinstance(upgraded, WebSocketProtocol) and not upgraded.handshake_initiated:
            # `websockets` reads heads more strictly than h11, and says nothing of one that it refuses
            self.refuse("bad_request", "expected a WebSocket's head: no body, and no control characters")

    def _should_upgrade_to_ws(self) -> bool:
        """Whether a WebSocket can be had: of what else asks for one, the request is answered as it is."""
        return self.scope["method"] == "GET" and self.scope["raw_path"] == WEBSOCKET_PATH

    def _go_on(self) -> None:
        self._is_turn_due = False
        self.handle_events()
        if not self._is_turn_due and not self.transport.is_closing():
            self.flow.release()

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 cannot read."""
        failure = self.conn.failure
        if failure is not None and failure.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            limit = f"a request line and at most {MAX_HEADERS} headers, {MAX_HEAD_BYTES} bytes in all"
            self.refuse("head_too_large", f"expected {limit}; send data in the body")
        else:
            self.refuse("bad_request", f"expected an HTTP/1.1 request; {str(failure or msg)[:200]}")

    def refuse(self, code: str, detail: str) -> None:
        """Answer by a problem, unless an answer has begun, and close the connection."""
        if self.transport.is_closing():
            return
        answer = self._responder.tell(error_message(code, detail), {"Connection": "close"}, self.address)
        if self._give_up_request():
            self.transport.write(as_bytes(answer))
        self.transport.close()

    def shutdown(self) -> None:
        """Finish the request that runs, if one does."""
        if not self.transport.is_closing():
            super().shutdown()

    @property
    def _is_waiting(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _is_slow(self, now: float) -> bool:
        if self._began is None or now - self._began < _FAIR_S:
            return False
        return self._arrived < self._limits.min_body_bytes_per_s * (now - self._began)

    def _end_if_no_request(self, now: float) -> None:
        limits = self._limits
        if self.conn.their_state is h11.SEND_BODY:  # it was answered before its body came
            if now - self._waiting_since > limits.stall_s:
                self.transport.close()
        elif self._began is None:
            if now - self._waiting_since > limits.keep_alive_s:
                self.transport.close()
        elif now - self._began > limits.head_s:
            self.refuse("request_timeout", f"expected the whole head of a request within {limits.head_s:g} s")

    def _give_up_request(self) -> bool:
        """Tell a route that its client is gone; whether nothing was answered yet."""
        if self._is_waiting:
            return True
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return not self.cycle.response_started


class _Connection(h11.Connection):
    """h11's, with a number of events after which it says that it needs more data."""

    events_left = 0
    failure: h11.RemoteProtocolError | None = None

    def next_event(self) -> Any:
        """Give the next event.

        Raises
        ------
        h11.RemoteProtocolError
            The client said what it must not, or its head is too large.
        """
        if not self.events_left:
            return h11.NEED_DATA
        self.events_left -= 1
        try:
            if self.their_state is h11.IDLE:
                self._check_start()
            event = super().next_event()
            if isinstance(event, h11.Request):
                _check_head(event)
            return event
        except h11.RemoteProtocolError as error:
            self.failure = error
            raise

    def _check_start(self) -> None:
        """Skip one empty line before a request (RFC 9112, 2.2); refuse what costs much to find out."""
        if self._receive_buffer._data[:2] == b"\r\n":
            self._receive_buffer.maybe_extract_next_line()
        data = self._receive_buffer._data
        if not _METHOD_START.issuperset(data[:1]):
            raise h11.RemoteProtocolError("the first bytes are not a request line")
        if data.count(b"\n", 0, max(0, data.find(b"\r\n\r\n"))) > MAX_HEADERS:
            raise _head_too_large()


class _Flow(FlowControl):
    """uvicorn's, which reads nothing while the connection is held, whatever a route asks for."""

    _is_held = False
    _is_wanted = True

    def pause_reading(self) -> None:
        """Read nothing, as uvicorn has enough for now."""
        self._is_wanted = False
        self._stop()

    def resume_reading(self) -> None:
        """Read again, unless the connection is held."""
        self._is_wanted = True
        if not self._is_held:
            super().resume_reading()

    def hold(self) -> None:
        """Read nothing until the connection is released."""
        self._is_held = True
        self._stop()

    def release(self) -> None:
        """Read again, unless uvicorn has enough for now."""
        self._is_held = False
        if self._is_wanted:
            super().resume_reading()

    def _stop(self) -> None:
        self.read_paused = True
        self._transport.pause_reading()


def _check_head(request: h11.Request) -> None:
    """Refuse what h11 takes: a large head that came in one piece, and two lengths of one body."""
    names = {name for name, _ in request.headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        raise h11.RemoteProtocolError("the head has both Content-Length and Transfer-Encoding")
    size = len(request.method) + len(request.target) + sum(len(n) + len(v) for n, v in request.headers)
    if size > MAX_HEAD_BYTES or len(request.headers) > MAX_HEADERS:
        raise _head_too_large()


def _head_too_large() -> h11.RemoteProtocolError:
    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return h11.RemoteProtocolError("head too large", error_status_hint=status)


def as_bytes(answer: Response) -> bytes:
    """An answer as it travels."""
    status = HTTPStatus(answer.status_code)
    lines = [name + b": " + value for name, value in answer.raw_headers]
    head = f"HTTP/1.1 {status.value} {status.phrase}".encode()
    return b"\r\n".join([head, *lines, b"", bytes(answer.body)])
