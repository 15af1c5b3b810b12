"""Strangers at the streaming endpoint, who speak as far as they like: raw ZMTP 3.1 over a plain socket."""

from __future__ import annotations

import socket
import struct

from dimstream_client.messages import Frame, Message
from dimstream_client.wire import encode
from faults.movies import Movie

_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
_READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"


def connect(endpoint: str) -> socket.socket:
    """Connect and shake hands as a DEALER."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    plain = socket.create_connection((host, int(port)), timeout=10)
    plain.sendall(_GREETING + bytes([4, len(_READY)]) + _READY)
    return plain


def half_a_frame(endpoint: str, *, stream: str = "s-0", side: int = 512) -> socket.socket:
    """Send a FRAME of which only half of the pixels ever come; keep the socket as long as that shall last."""
    plain = connect(endpoint)
    content = message(Frame(stream, 0, Movie(side=side).frame(0)))
    plain.sendall(content[: len(content) - side * side])
    return plain


def message(said: Message) -> bytes:
    """A message as ZMTP carries it."""
    parts = [bytes(part) for part in encode(said)]
    last = len(parts) - 1
    return b"".join(
        struct.pack(">BQ", 2 + (number < last), len(part)) + part for number, part in enumerate(parts)
    )
