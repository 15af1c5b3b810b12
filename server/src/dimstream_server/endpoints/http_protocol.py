"""HTTP/1.1 on one connection: uvicorn's protocol, with a bounded head and refusals that are problems.

What reaches the routes is refused there; this is for bytes that never become a request.
"""

from http import HTTPStatus
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dimstream_server.endpoints.problems import error_message
from dimstream_server.endpoints.requests import ProblemTeller

MAX_HEAD_BYTES = 65_536


class HttpProtocol(HttpToolsProtocol):
    """Refuses what is no HTTP, and a request line with headers, or trailers, of more than `MAX_HEAD_BYTES`.

    The parser keeps the start of a header until its end has come; so bytes are counted here as they arrive,
    and headers once more as they are complete, because trailers come behind a body that is not counted.
    """

    teller: ClassVar[ProblemTeller]
    _in_head = True
    _arrived = 0
    _headers = 0

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless the head has grown too long."""
        was_in_head = self._in_head
        super().data_received(data)
        if not (was_in_head and self._in_head):
            self._arrived = 0
            return
        self._arrived += len(data)
        if self._arrived > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Count anew."""
        self._headers = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header or trailer, unless there are too many."""
        self._headers += len(name) + len(value)
        if self._headers <= MAX_HEAD_BYTES:
            super().on_header(name, value)
        elif not self.transport.is_closing():
            self._refuse_head()

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head was refused."""
        self._in_head = False
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for the next head."""
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser cannot read."""
        if not self.transport.is_closing():
            self._refuse("bad_request", f"expected an HTTP/1.1 request; {msg}")

    def _refuse_head(self) -> None:
        self._refuse(
            "head_too_large",
            f"expected a request line and headers of at most {MAX_HEAD_BYTES} bytes; send data in the body",
        )

    def _refuse(self, code: str, detail: str) -> None:
        answer = self.teller.tell(error_message(code, detail), {"Connection": "close"})
        status = HTTPStatus(answer.status_code)
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
        headers = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
        self.transport.write(head + headers + b"\r\n" + bytes(answer.body))
        self.transport.close()


def protocol_telling(teller: ProblemTeller) -> type[HttpProtocol]:
    """`HttpProtocol` for uvicorn, which makes one for each connection and knows no teller."""
    return type("HttpProtocol", (HttpProtocol,), {"teller": teller})
