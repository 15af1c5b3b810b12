"""HTTP/1.1 on one connection: uvicorn's protocol on h11, with refusals that are problems and are logged.

h11 bounds the head, the trailers and what is pipelined by itself. What reaches the routes is refused there;
this is for bytes that never become a request.
"""

import logging
import string
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from dimstream_server.endpoints.problems import error_message
from dimstream_server.endpoints.requests import ProblemTeller

MAX_HEAD_BYTES: Final = 65_536
_METHOD_START: Final = frozenset(b"!#$%&'*+-.^_`|~" + string.ascii_letters.encode())
_EVENTS_PER_TURN: Final = 256  # of h11, about 5 microseconds each
# uvicorn warns once a request, however many come
_QUIET: Final = logging.getLogger("uvicorn.error.http")
_QUIET.setLevel(logging.ERROR)


class HttpProtocol(H11Protocol):
    """Refuses what is no HTTP, and a head, or trailers, of more than `MAX_HEAD_BYTES`.

    A refused request is not passed on; when it has begun already, its route is told that the client has gone.
    One connection handles `_EVENTS_PER_TURN` events in a turn of the event loop and reads nothing until they
    are done: a body in chunks of one byte costs h11 a hundred times as much as another of the same size.
    """

    teller: ClassVar[ProblemTeller]
    conn: "_Connection"
    flow: "_Flow"
    _is_turn_due = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = _Connection(h11.SERVER, MAX_HEAD_BYTES)
        self.logger = _QUIET

    def connection_made(self, transport: Any) -> None:
        """Begin to read."""
        super().connection_made(transport)
        self.flow = _Flow(transport)

    def handle_events(self) -> None:
        """Handle what has arrived: some of it now, and the rest in the next turn."""
        if self.transport.is_closing():
            return
        self.conn.events_left = _EVENTS_PER_TURN
        super().handle_events()
        if not self.conn.events_left and not self._is_turn_due and not self.transport.is_closing():
            self._is_turn_due = True
            self.flow.hold()
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_turn_due = False
        self.handle_events()
        if not self._is_turn_due and not self.transport.is_closing():
            self.flow.release()

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 cannot read."""
        failure = self.conn.failure
        if failure is not None and failure.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            limit = f"a request line and headers of at most {MAX_HEAD_BYTES} bytes"
            self.refuse("head_too_large", f"expected {limit}; send data in the body")
        else:
            self.refuse("bad_request", f"expected an HTTP/1.1 request; {str(failure or msg)[:200]}")

    def refuse(self, code: str, detail: str) -> None:
        """Answer by a problem, unless an answer has begun, and close the connection."""
        if self.transport.is_closing():
            return
        answer = self.teller.tell(error_message(code, detail), {"Connection": "close"}, self.address)
        if self._give_up_request():
            status = HTTPStatus(answer.status_code)
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
            self.transport.write(head + _lines(answer.raw_headers) + b"\r\n" + bytes(answer.body))
        self.transport.close()

    @property
    def address(self) -> str:
        """Where the client is."""
        return self.client[0] if self.client else "unknown"

    def shutdown(self) -> None:
        """Finish the request that runs, if one does."""
        if not self.transport.is_closing():
            super().shutdown()

    def _give_up_request(self) -> bool:
        """Tell a route that its client is gone; whether nothing was answered yet."""
        if self.cycle is None or self.cycle.response_complete:
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
        """Skip one empty line before a request (RFC 9112, 2.2); refuse what no method begins with."""
        if self._receive_buffer._data[:2] == b"\r\n":
            self._receive_buffer.maybe_extract_next_line()
        elif not _METHOD_START.issuperset(self._receive_buffer._data[:1]):
            raise h11.RemoteProtocolError("the first bytes are no request line")


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
    if size > MAX_HEAD_BYTES:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        raise h11.RemoteProtocolError("head too long", error_status_hint=status)


def _lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    return b"".join(name + b": " + value + b"\r\n" for name, value in headers)


def protocol_telling(teller: ProblemTeller) -> type[HttpProtocol]:
    """`HttpProtocol` for uvicorn, which makes one for each connection and knows no teller."""
    return type("HttpProtocol", (HttpProtocol,), {"teller": teller})
