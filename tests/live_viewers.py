"""A viewer of the live view on the `websockets` library; it reads messages as docs/live-view.md has them."""

from __future__ import annotations

import json
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 60


class Viewer:
    """A connection that acknowledges each message as it reads it."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.count = 0

    def watch(self, **view: Any) -> None:
        """Want one view."""
        self.say({"type": "watch", "views": [view]})

    def say(self, message: Any) -> None:
        """Send JSON."""
        self.socket.send(json.dumps(message))

    def read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The next message, and its arrays; not acknowledged."""
        message = self.socket.recv(PATIENCE_S)
        assert isinstance(message, bytes)
        self.count += 1
        return decoded(message)

    def done(self) -> None:
        """Acknowledge all that was read."""
        self.say({"type": "done", "count": self.count})

    def until(self, condition: Callable[[dict[str, Any]], Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read until a message's header fulfils this."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            header, arrays = self.read()
            self.done()
            if condition(header):
                return header, arrays
        raise AssertionError("no such message came")

    def of_kind(self, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read until a message of this type comes."""
        return self.until(lambda header: header["type"] == kind)


@contextmanager
def viewing(
    http: str,
    *,
    token: str = "",
    tickets: tuple[str, ...] = (),
    origin: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Viewer]:
    """A viewer of the server at this URL."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    subprotocols: list[Any] = ["dimstream-live-1", *(f"ticket.{one}" for one in tickets)]
    own: Any = origin
    with connect(
        http.replace("http", "ws", 1) + "/live/ws",
        additional_headers=headers,
        origin=own,
        subprotocols=subprotocols,
        max_size=None,
        proxy=None,
        ssl=tls,
    ) as socket:
        yield Viewer(socket)


def decoded(message: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and arrays of a message."""
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    arrays = {}
    for part in header["parts"]:
        at, count = 4 + length + part["offset"], int(np.prod(part["shape"]))
        dtype = np.dtype(part["dtype"]).newbyteorder("<")
        arrays[part["name"]] = np.frombuffer(message, dtype, count, at).reshape(part["shape"])
    return header, arrays
