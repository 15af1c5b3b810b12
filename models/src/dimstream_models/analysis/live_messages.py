"""What the live view's WebSocket says, and what it is told (`docs/live-view.md`); no sockets."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from dimstream_models.analysis.errors import NoServer

PROTOCOL: Final = "dimstream-live-1"
ENDED: Final = "ended"
REQUESTS: Final = "http"
"""`endpoint` of a file that one HTTP request sends: it is no stream of a microscope."""
_DTYPES: Final = {"uint8": "<u1", "uint16": "<u2", "float32": "<f4", "float64": "<f8"}


class _Told(BaseModel):
    """What a server says; a newer one may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class LiveStream(_Told):
    """A stream of the server.

    Parameters
    ----------
    state : str
        ``open``, ``away`` or ``ended``.
    frames : int
        That the server has answered.
    newest_seq : int
        The newest of them, of any plane.
    delivers_pixels : bool
        Whether there are denoised frames, or flags alone.
    pixel_size_um : float or None
    """

    stream: str
    client: str
    endpoint: str
    state: str
    frames: int
    newest_seq: int
    delivers_pixels: bool
    pixel_size_um: float | None


class _Index(_Told):
    t: int
    c: int
    z: int
    p: int


class _FrameHeader(_Told):
    stream: str
    seq: int
    index: _Index
    flag: str


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame that the server has answered.

    Parameters
    ----------
    t : int
        Its place in time, among the frames of its plane.
    plane : (int, int, int)
        Channel, z, position.
    pixels : (H, W) array or None
        Denoised; None where there are none, as of a frame that failed.
    """

    stream: str
    seq: int
    t: int
    plane: tuple[int, int, int]
    flag: str
    pixels: NDArray[Any] | None


def read_message(message: bytes) -> tuple[LiveStream, ...] | LiveFrame | None:
    """Return all streams, or a frame; None of another message.

    Raises
    ------
    NoServer
        When it is no message of a live view.
    """
    try:
        (length,) = struct.unpack_from("<I", message)
        header: dict[str, Any] = json.loads(message[4 : 4 + length])
        if header["type"] == "status":
            return tuple(LiveStream.model_validate(one) for one in header["streams"])
        return _frame(header, message, 4 + length) if header["type"] == "frame" else None
    except (ValueError, KeyError, TypeError, struct.error, ValidationError) as error:
        raise NoServer(
            f"expected messages of a dimstream server's live view, got another ({error})"
        ) from error


def watch_text(streams: Sequence[str], plane: tuple[int, int, int] | None) -> str:
    """Return the text that asks for the newest denoised frame of these streams; of none: for no more."""
    views = [{"stream": one, "plane": plane, "parts": ["denoised"]} for one in streams]
    return json.dumps({"type": "watch", "views": views}, separators=(",", ":"))


def done_text(count: int) -> str:
    """Return the text that says how many messages were dealt with since the connection began."""
    return json.dumps({"type": "done", "count": count}, separators=(",", ":"))


def _frame(header: dict[str, Any], message: bytes, start: int) -> LiveFrame:
    told = _FrameHeader.model_validate(header)
    (part,) = [one for one in header["parts"] if one["name"] == "denoised"] or [None]
    index = told.index
    return LiveFrame(
        stream=told.stream,
        seq=told.seq,
        t=index.t,
        plane=(index.c, index.z, index.p),
        flag=told.flag,
        pixels=None if part is None else _pixels(part, message, start),
    )


def _pixels(part: dict[str, Any], message: bytes, start: int) -> NDArray[Any]:
    height, width = part["shape"]
    at = start + part["offset"]
    return np.frombuffer(message, _DTYPES[part["dtype"]], height * width, at).reshape(height, width)
