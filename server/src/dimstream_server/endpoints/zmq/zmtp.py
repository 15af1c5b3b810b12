"""ZMTP 3 (ZeroMQ RFC 23 and 37) without sockets: greeting, commands and frames, as a server reads them.

A frame is refused by its announced size, before memory is taken for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

GREETING_BYTES: Final = 64
SIGNATURE_BYTES: Final = 11  # and the version
MORE: Final = 1
LONG: Final = 2
COMMAND: Final = 4
MAX_HANDSHAKE_BYTES: Final = 2_048  # of a frame
SEALED_OVERHEAD: Final = 33  # of a part that CURVE encrypts: name, nonce, authenticator, flags
MAX_ROUTING_ID: Final = 255
NULL: Final = b"NULL"
CURVE: Final = b"CURVE"
_SIGNATURE: Final = b"\xff" + bytes(8) + b"\x7f"
_VERSION: Final = b"\x03\x01"
_READ_BYTES: Final = 65_536
_MAX_HEAD: Final = 9  # flags, and a size of eight bytes
_MAY_CONNECT: Final = (b"DEALER", b"ROUTER")  # a REQ could not tell the answers of DIM1 from others


class ZmtpError(Exception):
    """The peer does not speak ZMTP 3 as expected; the connection has to end. The text is for the log."""


class Refusal(ZmtpError):
    """A handshake that is refused in words.

    Parameters
    ----------
    text : str
        For the log.
    reason : bytes
        For the peer: at most 255 visible ASCII characters.
    """

    def __init__(self, text: str, reason: bytes) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: a part of a message, or a command.

    Parameters
    ----------
    flags : int
        `MORE` and `COMMAND`.
    """

    flags: int
    body: bytes | bytearray | memoryview


class FrameReader:
    """Cuts incoming bytes into frames; large bodies are received where they stay.

    Parameters
    ----------
    admit : callable
        Called with flags and size of each frame before memory is taken for it; raises `ZmtpError`
        when it is too large.
    """

    def __init__(self, admit: Callable[[int, int], None]) -> None:
        self._admit = admit
        self._read = bytearray(_READ_BYTES)
        self._start = self._end = 0
        self._flags = 0
        self._body: bytearray | memoryview | None = None
        self._filled = 0

    def buffer(self) -> memoryview:
        """Where the next bytes are to be put; never empty."""
        if self._body is not None:
            return memoryview(self._body)[self._filled :]
        if self._start:
            rest = self._read[self._start : self._end]
            self._read[: len(rest)] = rest
            self._start, self._end = 0, len(rest)
        return memoryview(self._read)[self._end :]

    def received(self, count: int) -> None:
        """Take note that so many bytes were put into the buffer."""
        if self._body is not None:
            self._filled += count
        else:
            self._end += count

    def clear(self) -> None:
        """Forget what has come; no more will."""
        self._body, self._read = None, bytearray()
        self._start = self._end = 0

    def waiting(self, most: int) -> bytes:
        """The next bytes, outside of any frame, as many as have come; they stay."""
        return bytes(self._read[self._start : min(self._end, self._start + most)])

    def take(self, count: int) -> bytes | None:
        """The next `count` bytes, outside of any frame; None as long as they have not come."""
        if self._end - self._start < count:
            return None
        self._start += count
        return bytes(self._read[self._start - count : self._start])

    def next_frame(self) -> Frame | None:
        """The next frame that came whole.

        Raises
        ------
        ZmtpError
            What came is no frame, or one that is not admitted.
        """
        if self._body is None and not self._begin():
            return None
        body = self._body
        assert body is not None
        if self._filled < len(body):
            return None
        self._body = None
        return Frame(self._flags, body)

    def _begin(self) -> bool:
        """Whether the head of a frame has come, and its body was begun."""
        waiting = self._end - self._start
        if waiting < 2:
            return False
        flags = self._read[self._start]
        if flags & ~(MORE | LONG | COMMAND) or (flags & COMMAND and flags & MORE):
            raise ZmtpError(f"expected the flags of a frame, got {flags:#x}")
        if flags & LONG:
            if waiting < _MAX_HEAD:
                return False
            (size,) = struct.unpack_from(">Q", self._read, self._start + 1)
        else:
            size = self._read[self._start + 1]
        self._admit(flags, size)
        self._start += _MAX_HEAD if flags & LONG else 2
        self._flags = flags & ~LONG
        self._body = _room_for(size)
        self._filled = min(size, self._end - self._start)
        self._body[: self._filled] = memoryview(self._read)[self._start : self._start + self._filled]
        self._start += self._filled
        return True


def _room_for(size: int) -> bytearray | memoryview:
    """Memory for a body; a large one is not set to zero first, as a bytearray is."""
    return bytearray(size) if size <= _READ_BYTES else np.empty(size, np.uint8).data


def head_of(flags: int, size: int) -> bytes:
    """What stands before the body of a frame."""
    if size > 255:
        return struct.pack(">BQ", flags | LONG, size)
    return bytes((flags, size))


def greeting(mechanism: bytes) -> bytes:
    """The server's greeting."""
    return _SIGNATURE + _VERSION + mechanism.ljust(20, b"\0") + bytes([mechanism != NULL]) + bytes(31)


def check_signature(start: bytes) -> None:
    """Judge the first bytes of a greeting, as many as have come: older peers would never send the rest.

    Raises
    ------
    ZmtpError
    """
    if start[:1] not in (b"", b"\xff") or (len(start) > 9 and not start[9] & 1):
        raise ZmtpError("expected the greeting of a ZeroMQ client, got other bytes")
    if len(start) > 10 and start[10] < 3:
        raise ZmtpError(f"expected ZMTP 3 or later, got version {start[10]}; update the client's ZeroMQ")


def check_greeting(peer: bytes, mechanism: bytes) -> None:
    """Compare a peer's greeting with what is expected.

    Raises
    ------
    ZmtpError
    """
    check_signature(peer[:SIGNATURE_BYTES])
    named = peer[12:32].rstrip(b"\0")
    if named != mechanism:
        raise ZmtpError(f"expected the mechanism {mechanism.decode()}, got {named!r}")
    if mechanism == CURVE and peer[32] & 1:
        raise ZmtpError("expected a client, got a CURVE server")


def knows_pings(greeting: bytes) -> bool:
    """Whether a peer speaks ZMTP 3.1 or later."""
    return (greeting[10], greeting[11]) >= (3, 1)


def command(name: bytes, data: bytes = b"") -> bytes:
    """The body of a command."""
    return bytes([len(name)]) + name + data


def parse_command(body: bytes | bytearray | memoryview) -> tuple[bytes, bytes]:
    """Name and data of a command.

    Raises
    ------
    ZmtpError
    """
    size = body[0] if body else 0
    if not size or len(body) <= size:
        raise ZmtpError("expected the name of a command, got none")
    return bytes(body[1 : 1 + size]), bytes(body[1 + size :])


def metadata(values: Mapping[bytes, bytes]) -> bytes:
    """Properties as READY carries them."""
    return b"".join(
        bytes([len(name)]) + name + struct.pack(">I", len(value)) + value for name, value in values.items()
    )


def parse_metadata(data: bytes) -> dict[bytes, bytes]:
    """Properties of READY or INITIATE; names in lower case.

    Raises
    ------
    ZmtpError
    """
    found, at = {}, 0
    while at < len(data):
        name_end = at + 1 + data[at]
        if name_end + 4 > len(data):
            raise ZmtpError("the metadata of the handshake are cut short")
        (size,) = struct.unpack_from(">I", data, name_end)
        value_end = name_end + 4 + size
        if value_end > len(data):
            raise ZmtpError("the metadata of the handshake are cut short")
        found[data[at + 1 : name_end].lower()] = data[name_end + 4 : value_end]
        at = value_end
    return found


def routing_id_of(properties: Mapping[bytes, bytes]) -> bytes:
    """The routing id that a peer has chosen; empty where it has not.

    Raises
    ------
    ZmtpError
        Its socket may not connect here, or the id is too long or reserved.
    """
    kind = properties.get(b"socket-type", b"")
    if kind not in _MAY_CONNECT:
        raise Refusal(f"expected a DEALER socket, got {kind[:32]!r}", b"Invalid-Socket-Type")
    chosen = properties.get(b"identity", b"")
    if len(chosen) > MAX_ROUTING_ID:
        raise ZmtpError(f"expected a routing id of at most {MAX_ROUTING_ID} bytes, got {len(chosen)}")
    if chosen[:1] == b"\0":  # those are the server's to give
        raise Refusal("expected a routing id that does not begin with zero", b"Invalid-Identity")
    return chosen
