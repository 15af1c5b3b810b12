"""A server's live view, watched by its WebSocket: all that one who has little time needs of it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import SplitResult

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from dimstream_models.analysis.errors import NoServer, NotAllowed
from dimstream_models.analysis.live_messages import (
    PROTOCOL,
    LiveFrame,
    LiveStream,
    done_text,
    read_message,
    watch_text,
)

LARGEST_MESSAGE: Final = 2**30
OPEN_S: Final = 10.0
_FORBIDDEN: Final = (401, 403)
_POLICY: Final = 1008


class LiveView:
    """A connection to the live view. It asks for a frame only when the caller has time for one.

    Parameters
    ----------
    socket : ClientConnection
        Of a connection that was just opened.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.streams: dict[str, LiveStream] = {}
        """As the server last told; by their ids."""
        self._socket = socket
        self._taken = 0

    def catch_up(self) -> None:
        """Read what has come meanwhile, and let go of it but for the list of streams.

        Raises
        ------
        NoServer, NotAllowed
        """
        while (message := self._receive(0)) is not None:
            self._take(message)
        self._say(done_text(self._taken))

    def wait(self, timeout_s: float) -> None:
        """Read until the server has told of its streams, or for so long.

        Raises
        ------
        NoServer, NotAllowed
        """
        end = time.monotonic() + timeout_s
        while (message := self._receive(end - time.monotonic())) is not None:
            found = self._take(message)
            self._say(done_text(self._taken))
            if not isinstance(found, LiveFrame):
                return

    def newest(
        self, streams: Sequence[str], plane: tuple[int, int, int] | None, timeout_s: float
    ) -> LiveFrame | None:
        """Return the newest frame of one of these streams; None when none came in time.

        Parameters
        ----------
        plane : (int, int, int) or None
            Channel, z, position; None: any.

        Raises
        ------
        NoServer, NotAllowed
        """
        end = time.monotonic() + timeout_s
        self._say(watch_text(streams, plane))
        found = None
        while not isinstance(found, LiveFrame):
            message = self._receive(end - time.monotonic())
            if message is None:
                break
            found = self._take(message)
            if not isinstance(found, LiveFrame):
                self._say(done_text(self._taken))
        self._say(watch_text((), None))
        return found if isinstance(found, LiveFrame) else None

    def _take(self, message: bytes) -> tuple[LiveStream, ...] | LiveFrame | None:
        self._taken += 1
        found = read_message(message)
        if isinstance(found, tuple):
            self.streams = {one.stream: one for one in found}
        return found

    def _receive(self, timeout_s: float) -> bytes | None:
        try:
            message = self._socket.recv(timeout=max(0.0, timeout_s))
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise _lost(error) from error
        if isinstance(message, str):
            raise NoServer("expected messages of a dimstream server's live view, got text")
        return message

    def _say(self, text: str) -> None:
        try:
            self._socket.send(text)
        except ConnectionClosed as error:
            raise _lost(error) from error


@contextmanager
def live_view(
    server: SplitResult, headers: Mapping[str, str], tls: ssl.SSLContext | None
) -> Iterator[LiveView]:
    """Watch a server.

    Parameters
    ----------
    server : SplitResult
        Of its URL, ``http://HOST:PORT``.
    headers : mapping
        Sent with the request that opens the connection.

    Raises
    ------
    NoServer
        There is none at the moment; it may come.
    NotAllowed
        It does not let us in.
    """
    scheme = "wss" if server.scheme == "https" else "ws"
    url = server._replace(scheme=scheme, path=server.path.rstrip("/") + "/live/ws").geturl()
    protocols: Any = [PROTOCOL]
    try:
        socket = connect(
            url,
            additional_headers=dict(headers),
            subprotocols=protocols,
            ssl=tls,
            proxy=None,
            compression=None,
            open_timeout=OPEN_S,
            close_timeout=1.0,
            max_size=LARGEST_MESSAGE,
        )
    except InvalidStatus as error:
        raise _refused(server, error) from error
    except (OSError, WebSocketException) as error:
        raise NoServer(f"no live view at {server.geturl()} ({_text(error)})") from error
    with socket:
        yield LiveView(socket)


def _refused(server: SplitResult, error: InvalidStatus) -> NoServer | NotAllowed:
    status, body = error.response.status_code, bytes(error.response.body or b"").decode(errors="replace")
    said = f"{server.geturl()} refused the live view with status {status}: {body[:300]}"
    return (
        NotAllowed(f"{said}; name a token of the server by --token-file")
        if status in _FORBIDDEN
        else NoServer(said)
    )


def _lost(error: ConnectionClosed) -> NoServer | NotAllowed:
    close = error.rcvd
    if close is not None and close.code == _POLICY:
        return NotAllowed(f"the server ended the live view: {close.reason}")
    return NoServer(f"the connection to the live view was lost ({_text(error)})")


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
