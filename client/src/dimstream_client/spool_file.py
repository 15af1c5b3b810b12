"""Files with one frame or SKIP: a prefix of 24 bytes, the header of its DIM1 message, and its pixels."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Final

from dimstream_client.errors import ProtocolError, SpoolError
from dimstream_client.messages import Frame, Skip
from dimstream_client.wire import decode

MAGIC: Final = b"DIMSPL01"
_HEAD: Final = struct.Struct("<8sIIQ")  # magic, crc32 of what follows, bytes of the header, of the payload
_LARGEST: Final = 2**40


def size_of(parts: list[Any]) -> int:
    """Return the size in bytes of a file with these message parts."""
    return _HEAD.size + sum(len(part) for part in parts[1:])


def write(path: Path, parts: list[Any]) -> None:
    """Write a file with these message parts.

    Raises
    ------
    OSError
    """
    header, payload = parts[1], parts[2] if len(parts) > 2 else b""
    head = _HEAD.pack(MAGIC, zlib.crc32(payload, zlib.crc32(header)), len(header), len(payload))
    with open_private(path) as file:
        for part in (head, header, payload):
            file.write(part)


def parse(content: bytes, *, where: str) -> Frame | Skip:
    """Return the frame or SKIP that a file holds.

    Raises
    ------
    SpoolError
        When it is truncated, damaged, or not such a file.
    """
    if len(content) < _HEAD.size:
        raise SpoolError(f"{where} is cut short")
    magic, crc, header_bytes, payload_bytes = _HEAD.unpack_from(content)
    if magic != MAGIC:
        raise SpoolError(f"{where}: expected a spooled frame, got something else")
    if len(content) != _HEAD.size + header_bytes + payload_bytes:
        raise SpoolError(f"{where} is cut short, or longer than it says")
    body = memoryview(content)[_HEAD.size :]
    if zlib.crc32(body) != crc:
        raise SpoolError(f"{where} is damaged: its checksum is another")
    header, payload = body[:header_bytes], body[header_bytes:]
    try:
        if payload_bytes:
            message = decode([b"DIM1FRAME", header, payload], max_payload_bytes=_LARGEST)
        else:
            message = decode([b"DIM1SKIP", header], max_payload_bytes=0)
    except ProtocolError as error:
        raise SpoolError(f"{where}: {error.detail}") from None
    assert isinstance(message, (Frame, Skip))
    return message


def open_private(path: Path) -> BinaryIO:
    """Create or replace a file that only its owner can read, because it holds images or a token."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "wb")
