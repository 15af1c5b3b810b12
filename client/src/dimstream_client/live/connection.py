"""A connection to the WebSocket of a server's live view."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from dimstream_client.errors import ConnectionLost, NotAdmitted
from dimstream_client.live.messages import LiveMessage, decode

PROTOCOL: Final = Subprotocol("dimstream-live-1")
_LARGEST_MESSAGE: Final = 2**30
_OPEN_S: Final = 10.0
_BYTES_PER_S: Final = (
    5000  # seconds between requests; the server accepts at most 8192 bytes per second from a viewer
)
_BURST_S: Final = 0.4
_REFUSED: Final = (401, 403)


class LiveConnection:
    """One viewer of a server; a context manager.

    Parameters
    ----------
    server : str
        ``http://HOST:PORT`` or ``https://HOST:PORT``.
    token : str, optional
        Required if the server uses tokens.

    Raises
    ------
    NotAdmitted
        When the server requires a token, or does not accept this one. ConnectionLost
            When there is no such server.
    """

    def __init__(self, server: str, *, token: str | None = None) -> None:
        self._server = server
        self._until_closed = ExitStack()
        self._socket = self._until_closed.enter_context(_connecting(server, token))
        self._taken = 0
        self._lock = threading.Lock()
        self._paid_until = 0.0

    def __enter__(self) -> LiveConnection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def watch(self, views: Sequence[dict[str, Any]]) -> None:
        """Request these views from now on (format: docs/live-view.md). Can be called by any thread.

        Raises
        ------
        ConnectionLost
        """
        text = json.dumps({"type": "watch", "views": list(views)}, separators=(",", ":"))
        with self._lock:
            time.sleep(max(0.0, self._paid_until - _BURST_S - time.monotonic()))
            self._say(text)
            self._paid_until = max(self._paid_until, time.monotonic()) + len(text) / _BYTES_PER_S

    def receive(self, timeout_s: float) -> LiveMessage | None:
        """Return the next message and acknowledge it; None if none came in time. Only one thread may receive.

        Raises
        ------
        ConnectionLost
            When the connection has ended.
        ProtocolError
            When the data are not a message of the live view.
        """
        try:
            message = self._socket.recv(timeout_s)
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise self._lost(error) from None
        self._taken += 1
        found = decode(message.encode() if isinstance(message, str) else message)
        self._say(json.dumps({"type": "done", "count": self._taken}))
        return found

    def close(self) -> None:
        """End the connection; a thread that receives gets ConnectionLost."""
        self._socket.close()
        self._until_closed.close()

    def _say(self, text: str) -> None:
        try:
            self._socket.send(text)
        except ConnectionClosed as error:
            raise self._lost(error) from None

    def _lost(self, error: ConnectionClosed) -> ConnectionLost:
        why = "" if error.rcvd is None or not error.rcvd.reason else f": {error.rcvd.reason}"
        return ConnectionLost(f"the connection to the live view of {self._server} has ended{why}")


@contextmanager
def _connecting(server: str, token: str | None) -> Iterator[ClientConnection]:
    parts = urlsplit(server.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConnectionLost(f"cannot connect to {server!r}; expected http://HOST:PORT")
    scheme = "wss" if parts.scheme == "https" else "ws"
    with ExitStack() as stack:
        try:
            connection = connect(
                f"{scheme}://{parts.netloc}{parts.path}/live/ws",
                additional_headers={} if token is None else {"Authorization": f"Bearer {token}"},
                subprotocols=[PROTOCOL],
                ssl=ssl.create_default_context() if scheme == "wss" else None,
                max_size=_LARGEST_MESSAGE,
                open_timeout=_OPEN_S,
                proxy=None,
                compression=None,  # noisy pixels: compression takes time and saves nothing
            )
            socket = stack.enter_context(connection)
        except InvalidStatus as error:
            status = error.response.status_code
            if status in _REFUSED:
                raise NotAdmitted(
                    f"{server} refuses the connection (HTTP {status}): give one of its tokens, see "
                    "docs/security.md"
                ) from None
            raise ConnectionLost(
                f"{server} accepts no viewer (HTTP {status}): the limit of viewers may be reached"
            ) from None
        except (OSError, ValueError, WebSocketException) as error:
            raise ConnectionLost(
                f"no live view at {server} ({error}); check the address (default port: 8570), and that a "
                "server runs there"
            ) from None
        yield socket
