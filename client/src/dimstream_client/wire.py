"""DIM1 on the wire: messages to message parts and back. Opens no socket.

A message is ``[b"DIM1" + TYPE, header, payload]``: the header is a JSON object in UTF-8, the payload the
pixels, little-endian, row by row. The payload part is absent when there are no pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, NoReturn

import numpy.typing as npt

from dimstream_client import fields as checks
from dimstream_client import messages
from dimstream_client.errors import Code, FrameError, ProtocolError
from dimstream_client.fields import Check, Refused
from dimstream_client.messages import Message
from dimstream_client.pixels import Part, pack, unpack

__all__ = ["MAGIC", "MAX_HEADER_BYTES", "decode", "encode"]

MAGIC: Final = b"DIM1"
MAX_HEADER_BYTES: Final = 65_536

_HEADERS: Final[Mapping[str, Mapping[str, Check]]] = {
    "OPEN": {
        "client": checks.text,
        "shape": checks.shape,
        "dtype": checks.dtype,
        "model": checks.text,
        "mode": checks.one_of("lossless", "latest"),
        "axes": checks.text,
        "out_dtype": checks.out_dtype,
        "deliver": checks.one_of("result", "flags"),
        "save": checks.boolean,
        "codecs": checks.codecs,
        "checksum": checks.checksum,
        "window": checks.window,
        "pixel_size_um": checks.positive,
        "frame_interval_s": checks.positive,
        "channels": checks.texts,
        "next_result": checks.count,
        "stream": checks.text,
        "resume_token": checks.text,
        "user": checks.text,
    },
    "OPENED": {
        "stream": checks.text,
        "resume_token": checks.text,
        "boot_id": checks.text,
        "next_seq": checks.count,
        "limit": checks.count,
        "context_frames": checks.count,
        "model": checks.model,
        "thresholds": checks.thresholds,
        "max_frame_bytes": checks.count,
        "lease_s": checks.positive,
        "window": checks.window,
        "codec": checks.codec,
        "checksum": checks.checksum,
    },
    "FRAME": {
        "stream": checks.text,
        "seq": checks.count,
        "index": checks.plane_index,
        "t_acq": checks.number,
        "meta": checks.free,
    },
    "SKIP": {
        "stream": checks.text,
        "seq_from": checks.count,
        "seq_to": checks.count,
        "reason": checks.text,
    },
    "RESULT": {
        "stream": checks.text,
        "seq": checks.count,
        "status": checks.one_of("done", "failed"),
        "flag": checks.one_of("ok", "suspect", "unjudged"),
        "reason": checks.text,
        "ssim_prev": checks.ssim,
        "compared_seq": checks.count,
        "fractions": checks.fractions,
        "model_sha256": checks.text,
        "t_ms": checks.times,
        "limit": checks.count,
        "index": checks.plane_index,
        "error": checks.problem,
    },
    "CREDIT": {"stream": checks.text, "limit": checks.count},
    "ACK": {"stream": checks.text, "next_result": checks.count},
    "UPDATE": {
        "stream": checks.text,
        "from_seq": checks.count,
        "model": checks.text,
        "thresholds": checks.new_thresholds,
    },
    "UPDATED": {
        "stream": checks.text,
        "from_seq": checks.count,
        "model": checks.model,
        "thresholds": checks.thresholds,
    },
    "CLOSE": {"stream": checks.text, "last_seq": checks.count},
    "CLOSED": {"stream": checks.text, "counts": checks.counts, "files": checks.files},
    "PING": {"t": checks.number},
    "PONG": {"t": checks.number, "boot_id": checks.text, "queue": checks.count},
    "ERROR": checks.PROBLEM_FIELDS,
}
_CLASSES: Final[Mapping[str, type[Any]]] = {name: getattr(messages, name.capitalize()) for name in _HEADERS}
_REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(
        f.name
        for f in fields(_CLASSES[name])
        if f.name in header and f.default is MISSING and f.default_factory is MISSING
    )
    for name, header in _HEADERS.items()
}
# Null and absent mean the same here, and the message has no default for it.
_NULLABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "RESULT": ("reason", "ssim_prev", "compared_seq", "fractions")
}
_SETTINGS: Final = frozenset({"OPEN", "UPDATE"})  # a mistyped setting must not pass unnoticed
_WITH_PIXELS: Final = frozenset({"FRAME", "RESULT"})
_DUMP: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def encode(message: Message, *, codec: str = "none", checksum: bool = False) -> list[Part]:
    """Return the parts of `message`; its pixels are not copied when `codec` is "none".

    Parameters
    ----------
    message : Message
    codec : {"none", "zlib"}
        How the pixels are packed.
    checksum : bool
        Whether the header carries the crc32 of the payload.

    Raises
    ------
    FrameError
        wrong_dtype or wrong_shape: the pixels cannot travel.
    ProtocolError
        bad_field or oversize: the header cannot be written.
    """
    payload: Part | None = None
    header: dict[str, Any] = {}
    for f in fields(message):
        value = getattr(message, f.name)
        if f.name == "pixels":
            if value is not None:
                layout, payload = pack(value, codec=codec, checksum=checksum)
                header.update(layout)
        elif value is not None:
            header[f.name] = _plain(value)
    parts: list[Part] = [MAGIC + message.TYPE.encode(), _dump(header)]
    if payload is not None:
        parts.append(payload)
    return parts


def decode(parts: Sequence[Part], *, max_payload_bytes: int) -> Message:
    """Return the message that `parts` carry; its pixels are a read-only view of the last part.

    Parameters
    ----------
    parts : sequence of bytes or memoryview
    max_payload_bytes : int
        Neither the payload nor the unpacked pixels may be larger.

    Raises
    ------
    ProtocolError
        The bytes are not DIM1; its `code` says what is wrong, `stream` and `seq` where.
    FrameError
        The pixels do not fit the header.
    """
    name = _type_of(parts)
    header = _header_of(name, parts)
    values = _fields_of(name, header)
    if name in _WITH_PIXELS:
        values["pixels"] = _pixels_of(name, header, parts[2:], max_payload_bytes)
    elif len(parts) == 3:
        _refuse(header, Code.BAD_HEADER, f"{name} has two parts, type and header, but a payload came too")
    message: Message = _CLASSES[name](**values)
    if isinstance(message, messages.Skip) and message.seq_to < message.seq_from:
        _refuse(header, Code.BAD_FIELD, f"SKIP field seq_to: expected at least seq_from {message.seq_from}")
    return message


def _plain(value: Any) -> Any:
    if type(value) not in _JSON_TYPES and is_dataclass(value):
        return {f.name: _plain(item) for f in fields(value) if (item := getattr(value, f.name)) is not None}
    return value


_JSON_TYPES: Final = frozenset({str, int, float, bool, dict, list, tuple})  # most values, at a glance


def _dump(header: Mapping[str, Any]) -> bytes:
    try:
        encoded = _DUMP(header).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(
            Code.BAD_FIELD, f"the header holds what JSON cannot: {error}; use finite numbers and texts"
        ) from error
    if len(encoded) > MAX_HEADER_BYTES:
        raise ProtocolError(
            Code.OVERSIZE, f"the header has {len(encoded)} bytes, at most {MAX_HEADER_BYTES} may travel"
        )
    return encoded


def _type_of(parts: Sequence[Part]) -> str:
    first = bytes(parts[0][:64]) if parts else b""
    if first[:4] != MAGIC:
        raise ProtocolError(
            Code.BAD_MAGIC, f"the first part must be DIM1 and a message type, but begins with {first[:16]!r}"
        )
    name = first[4:].decode("ascii", "replace")
    if name not in _HEADERS:
        raise ProtocolError(
            Code.UNKNOWN_TYPE, f"message type {name!r} is unknown, expected one of {', '.join(_HEADERS)}"
        )
    if len(parts) not in (2, 3):
        came = "1 part" if len(parts) == 1 else "more than 3 parts"  # a reader need not count them all
        raise ProtocolError(Code.BAD_HEADER, f"{name} came with {came}, expected 2 or 3")
    return name


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{checks.short(max(names, key=names.count))} stands twice in one object")
    return members


_LOAD: Final = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_repeats).decode


def _header_of(name: str, parts: Sequence[Part]) -> dict[str, Any]:
    raw = parts[1]
    if len(raw) > MAX_HEADER_BYTES:
        raise ProtocolError(
            Code.OVERSIZE, f"the header of {name} has {len(raw)} bytes, at most {MAX_HEADER_BYTES} are taken"
        )
    try:
        header = _LOAD(bytes(raw).decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError(
            Code.BAD_HEADER, f"the header of {name} must be a JSON object in UTF-8: {error}"
        ) from None
    if not isinstance(header, dict):
        raise ProtocolError(
            Code.BAD_HEADER, f"the header of {name} must be a JSON object, got {type(header).__name__}"
        )
    return header


def _fields_of(name: str, header: Mapping[str, Any]) -> dict[str, Any]:
    known = _HEADERS[name]
    values: dict[str, Any] = dict.fromkeys(_NULLABLE.get(name, ()))
    for key, check in known.items():
        value = header.get(key)
        if value is None:
            if key in _REQUIRED[name] and key not in values:
                _refuse(header, Code.BAD_FIELD, f"{name} field {key} is missing", {"field": key})
            continue
        try:
            values[key] = check(value)
        except Refused as refusal:
            _refuse(
                header,
                refusal.code,
                f"{name} field {key}: expected {refusal}, got {checks.short(value)}",
                {"field": key},
            )
    if name in _SETTINGS and not header.keys() <= known.keys():
        unknown = checks.short(min(header.keys() - known.keys()))
        _refuse(header, Code.BAD_FIELD, f"{name} has no field {unknown}; its fields are {', '.join(known)}")
    return values


def _pixels_of(
    name: str, header: Mapping[str, Any], payloads: Sequence[Part], max_payload_bytes: int
) -> npt.NDArray[Any] | None:
    if not payloads:
        if name == "FRAME":
            _refuse(header, Code.WRONG_SIZE, "FRAME came without its payload part, expected the pixels")
        return None
    try:
        return unpack(header, payloads[0], max_bytes=max_payload_bytes)
    except FrameError as error:
        raise FrameError(
            error.code,
            f"{name}: {error.detail}",
            stream=_stream_of(header),
            seq=_seq_of(header),
            expected=error.expected,
        ) from None


def _stream_of(header: Mapping[str, Any]) -> str | None:
    stream = header.get("stream")
    return stream if isinstance(stream, str) and len(stream) <= checks.MAX_TEXT and stream.isascii() else None


def _seq_of(header: Mapping[str, Any]) -> int | None:
    seq = header.get("seq", header.get("seq_from"))
    return seq if type(seq) is int and 0 <= seq <= checks.MAX_INTEGER else None


def _refuse(
    header: Mapping[str, Any], code: str, detail: str, expected: Mapping[str, Any] | None = None
) -> NoReturn:
    raise ProtocolError(code, detail, stream=_stream_of(header), seq=_seq_of(header), expected=expected)
