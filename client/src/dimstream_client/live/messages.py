"""A message of the live view's WebSocket, decoded (docs/live-view.md, "The WebSocket")."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import ProtocolError

_DTYPES: Final = ("uint8", "uint16", "float32", "float64")
_MOST_AXES: Final = 2


@dataclass(frozen=True)
class LiveMessage:
    """One message: its header, and arrays by name."""

    header: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]]

    @property
    def type(self) -> str:
        """`status`, `frame`, `rows`, `missing` or another kind."""
        return str(self.header.get("type"))


def decode(message: bytes) -> LiveMessage:
    """Return header and arrays of a message; the arrays share its memory.

    Raises
    ------
    ProtocolError
        When the bytes are not such a message.
    """
    try:
        (length,) = struct.unpack_from("<I", message)
        if length > len(message) - 4:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(message[4 : 4 + length])
        arrays = {part["name"]: _array(message, 4 + length, part) for part in header.get("parts", ())}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(
            "bad_header", f"expected a message of the live view, got {message[:40]!a} ({error})"
        ) from None
    return LiveMessage(header, arrays)


@contextmanager
def reading(message: LiveMessage) -> Iterator[None]:
    """Context in which missing or wrong fields of a message's header become a ProtocolError."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(
            "bad_header", f"expected a message {message.type!r} of the live view, got another ({error!r})"
        ) from None


def _array(message: bytes, start: int, part: Mapping[str, Any]) -> npt.NDArray[Any]:
    shape = tuple(int(side) for side in part["shape"])
    if part["dtype"] not in _DTYPES or len(shape) > _MOST_AXES or min(shape, default=0) < 0:
        raise ValueError(f"unexpected array {part['dtype']} {shape}")
    count = 1
    for side in shape:
        count *= side
    dtype = np.dtype(part["dtype"]).newbyteorder("<")
    return np.frombuffer(message, dtype, count, start + int(part["offset"])).reshape(shape)
