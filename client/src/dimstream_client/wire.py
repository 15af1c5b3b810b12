"""Conversion of DIM1 messages to message parts and back, without sockets.

A message is ``[b"DIM1" + TYPE, header, payload, map, sd]``: the header is a JSON object in UTF-8, the payload
the pixels, little-endian, row by row, the map the support map of a RESULT, sd its error bars. Parts at the
end that would be empty are absent. The payload of an OPEN, where it has one, is a state: a JSON object, too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, NoReturn

import numpy.typing as npt

from dimstream_client import header_checks as checks
from dimstream_client import messages
from dimstream_client.errors import Code, FrameError, ProtocolError
from dimstream_client.header_checks import Refused
from dimstream_client.headers import CLASSES, HEADERS, NULLABLE, REQUIRED, SETTINGS
from dimstream_client.messages import Message
from dimstream_client.pixels import (
    Layout,
    Part,
    check_size,
    layout_of,
    pack,
    pack_map,
    unpack,
    unpack_as,
    unpack_map,
)
from dimstream_client.quality import is_required

__all__ = ["MAGIC", "MAX_HEADER_BYTES", "MAX_STATE_BYTES", "PackedFrame", "decode", "decode_packed", "encode"]

MAGIC: Final = b"DIM1"
MAX_HEADER_BYTES: Final = 65_536
MAX_STATE_BYTES: Final = 1_048_576

_BESIDE: Final = {"support": "map", "sd": "sd"}
"""Fields of RESULT that have a part each behind the pixels, in this order, to their names in the header."""
_MOST_PARTS: Final = {"RESULT": 3 + len(_BESIDE)}
_PARTS: Final = 3  # of all others
_DUMP: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def encode(message: Message, *, codec: str = "none", checksum: bool = False) -> list[Part]:
    """Return the parts of `message`; its pixels and map are not copied when `codec` is "none".

    Parameters
    ----------
    message : Message
    codec : {"none", "zlib"}
        Compression of pixels and map.
    checksum : bool
        Whether the header has the crc32 of both.

    Raises
    ------
    FrameError
        wrong_dtype or wrong_shape: when the pixels cannot be sent.
    ProtocolError
        bad_field or oversize: when the header cannot be written.
    """
    payloads: list[Part] = []
    beside: dict[str, Part] = {}
    header: dict[str, Any] = {}
    for name in _WRITTEN[message.TYPE]:
        value = getattr(message, name)
        if value is None:
            continue
        if name == "pixels":
            layout, payload = pack(value, codec=codec, checksum=checksum)
            payloads.append(payload)
            header.update(layout)
        elif name == "state" and message.TYPE == "OPEN":
            payloads.append(_dump(value, "state", MAX_STATE_BYTES))
        elif name in _BESIDE and message.TYPE == "RESULT":
            header[_BESIDE[name]], beside[name] = pack_map(name, value, codec=codec, checksum=checksum)
        else:
            header[name] = _plain(value)
    if beside:
        last = max(list(_BESIDE).index(name) for name in beside)
        payloads = [*(payloads or [b""]), *(beside.get(name, b"") for name in list(_BESIDE)[: last + 1])]
    return [MAGIC + message.TYPE.encode(), _dump(header), *payloads]


def decode(parts: Sequence[Part], *, max_payload_bytes: int) -> Message:
    """Return the message in `parts`; its pixels and map are read-only views of them.

    Parameters
    ----------
    parts : sequence of bytes or memoryview
    max_payload_bytes : int
        Limit for a payload, packed and unpacked.

    Raises
    ------
    ProtocolError
        When the bytes are not DIM1; see its `code`, `stream` and `seq`.
    FrameError
        When the pixels or the map do not fit the header.
    """
    message = decode_packed(parts, max_payload_bytes=max_payload_bytes)
    return message.unpack(max_bytes=max_payload_bytes) if isinstance(message, PackedFrame) else message


@dataclass(frozen=True)
class PackedFrame:
    """A FRAME whose header was checked and whose pixels are still packed.

    Parameters
    ----------
    layout : Layout
        Shape, type and compression of the pixels, from the header.
    """

    stream: str
    seq: int
    layout: Layout
    _header: Mapping[str, Any]
    _values: Mapping[str, Any]
    _payload: Part

    @property
    def work_bytes(self) -> int:
        """Bytes that unpacking must process; 0 if the pixels are not packed."""
        if self.layout.codec != "none":
            return self.layout.nbytes
        return 0 if self.layout.crc32 is None else len(self._payload)

    def unpack(self, *, max_bytes: int) -> messages.Frame:
        """Return the FRAME; its pixels are a read-only view of the payload if it was not packed.

        Raises
        ------
        FrameError
            oversize, bad_checksum, bad_codec or wrong_size.
        """
        with _naming("FRAME", self._header):
            pixels = unpack_as(self.layout, self._payload, max_bytes=max_bytes)
        return messages.Frame(**self._values, pixels=pixels)


def decode_packed(parts: Sequence[Part], *, max_payload_bytes: int) -> Message | PackedFrame:
    """Return the message in `parts`; a FRAME with its pixels still packed.

    Raises
    ------
    ProtocolError, FrameError
        As for `decode`; errors in the bytes of the pixels are found when they are unpacked.
    """
    name = _type_of(parts)
    header = _header_of(name, parts)
    values = _fields_of(name, header)
    if name == "FRAME":
        return _packed_frame(header, values, parts[2:], max_payload_bytes)
    if name == "RESULT":
        values.update(_images_of_result(header, parts[2:], max_payload_bytes))
    elif name == "OPEN" and len(parts) == 3:
        values["state"] = _object_of("the state of OPEN", parts[2], MAX_STATE_BYTES)
    elif len(parts) == 3:
        _refuse(header, Code.BAD_HEADER, f"{name} has two parts, type and header, but a payload came too")
    message: Message = CLASSES[name](**values)
    if isinstance(message, messages.Skip) and message.seq_to < message.seq_from:
        _refuse(header, Code.BAD_FIELD, f"SKIP field seq_to: expected at least seq_from {message.seq_from}")
    return message


_WRITTEN: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(f.name for f in sorted(fields(kind), key=lambda f: f.name != "stream" or not is_required(f)))
    for name, kind in CLASSES.items()
}
"""Fields of each message in the order in which they are written: `stream` first, where each has one."""


def _plain(value: Any) -> Any:
    names = _fields_within(type(value))
    if names is None:
        return value
    found = {}
    for name in names:
        item = getattr(value, name)
        if item is not None:
            found[name] = item if type(item) in _JSON_TYPES else _plain(item)
    return found


_WITHIN: Final[dict[type[Any], tuple[str, ...] | None]] = {}


def _fields_within(kind: type[Any]) -> tuple[str, ...] | None:
    """Names of the fields of a dataclass (cached); None for other types."""
    if kind not in _WITHIN:
        _WITHIN[kind] = tuple(f.name for f in fields(kind)) if is_dataclass(kind) else None
    return _WITHIN[kind]


_JSON_TYPES: Final = frozenset({str, int, float, bool, dict, list, tuple})  # most values, at a glance


def _dump(header: Mapping[str, Any], what: str = "header", most: int = MAX_HEADER_BYTES) -> bytes:
    try:
        encoded = _DUMP(header).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(
            Code.BAD_FIELD, f"the {what} holds what JSON cannot: {error}; use finite numbers and texts"
        ) from error
    if len(encoded) > most:
        raise ProtocolError(Code.OVERSIZE, f"the {what} has {len(encoded)} bytes, at most {most} may travel")
    return encoded


def _type_of(parts: Sequence[Part]) -> str:
    first = bytes(parts[0][:64]) if parts else b""
    if first[:4] != MAGIC:
        raise ProtocolError(
            Code.BAD_MAGIC, f"the first part must be DIM1 and a message type, but begins with {first[:16]!r}"
        )
    name = first[4:].decode("ascii", "replace")
    if name not in HEADERS:
        raise ProtocolError(
            Code.UNKNOWN_TYPE, f"message type {name!r} is unknown, expected one of {', '.join(HEADERS)}"
        )
    most = _MOST_PARTS.get(name, _PARTS)
    if not 2 <= len(parts) <= most:
        # a reader need not count them all
        came = "1 part" if len(parts) == 1 else f"more than {most} parts"
        raise ProtocolError(Code.BAD_HEADER, f"{name} came with {came}, expected 2 to {most}")
    return name


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        often = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{checks.short(often)} appears twice in one object")
    return members


_LOAD: Final = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_no_repeats).decode


def _header_of(name: str, parts: Sequence[Part]) -> dict[str, Any]:
    return _object_of(f"the header of {name}", parts[1], MAX_HEADER_BYTES)


def _object_of(what: str, raw: Part, most: int) -> dict[str, Any]:
    if len(raw) > most:
        raise ProtocolError(Code.OVERSIZE, f"{what} has {len(raw)} bytes, at most {most} are taken")
    try:
        found = _LOAD(bytes(raw).decode())
    except (ValueError, RecursionError) as error:
        raise ProtocolError(Code.BAD_HEADER, f"{what} must be a JSON object in UTF-8: {error}") from None
    if not isinstance(found, dict):
        raise ProtocolError(Code.BAD_HEADER, f"{what} must be a JSON object, got {type(found).__name__}")
    return found


def _fields_of(name: str, header: Mapping[str, Any]) -> dict[str, Any]:
    known = HEADERS[name]
    values: dict[str, Any] = dict.fromkeys(NULLABLE.get(name, ()))
    for key, check in known.items():
        value = header.get(key)
        if value is None:
            if key in REQUIRED[name] and key not in values:
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
    if name in SETTINGS and not header.keys() <= known.keys():
        unknown = checks.short(min(header.keys() - known.keys()))
        _refuse(header, Code.BAD_FIELD, f"{name} has no field {unknown}; its fields are {', '.join(known)}")
    return values


def _packed_frame(
    header: Mapping[str, Any], values: Mapping[str, Any], payloads: Sequence[Part], max_bytes: int
) -> PackedFrame:
    if not payloads:
        _refuse(header, Code.WRONG_SIZE, "FRAME came without its payload part, expected the pixels")
    with _naming("FRAME", header):
        layout = layout_of(header)
        check_size(layout, payloads[0], max_bytes=max_bytes)
    return PackedFrame(values["stream"], values["seq"], layout, header, values, payloads[0])


def _images_of_result(
    header: Mapping[str, Any], payloads: Sequence[Part], max_bytes: int
) -> dict[str, npt.NDArray[Any] | None]:
    """Return the pixels and further images; a missing one has an empty part if a later one exists."""
    images: dict[str, npt.NDArray[Any] | None] = {"pixels": None}
    last = max((n for n, key in enumerate(_BESIDE.values(), 1) if header.get(key) is not None), default=0)
    if len(payloads) > last + 1:
        _refuse(
            header, Code.BAD_HEADER, f"RESULT came with {len(payloads) + 2} parts, its header names fewer"
        )
    if payloads and not (last and header.get("shape") is None and not len(payloads[0])):
        with _naming("RESULT", header):
            images["pixels"] = unpack(header, payloads[0], max_bytes=max_bytes)
    for number, (name, key) in enumerate(_BESIDE.items(), start=1):
        payload = payloads[number] if number < len(payloads) else None
        images[name] = _image_beside(header, name, key, payload, max_bytes)
    shapes = {key: image.shape for key, image in images.items() if image is not None}
    for name, shape in shapes.items():
        if shape != (first := next(iter(shapes.values()))):
            expected = f"expected the shape of the {next(iter(shapes))}, {list(first)}"
            _refuse(header, Code.WRONG_SHAPE, f"RESULT field {_BESIDE[name]}: {expected}, got {list(shape)}")
    return images


def _image_beside(
    header: Mapping[str, Any], name: str, key: str, payload: Part | None, max_bytes: int
) -> npt.NDArray[Any] | None:
    layout = header.get(key)
    if layout is None:
        if payload is not None and len(payload):
            _refuse(header, Code.BAD_HEADER, f"RESULT came with a part for {key}, but its header names none")
        return None
    if payload is None:
        _refuse(header, Code.WRONG_SIZE, f"RESULT names {key}, but came without that part")
    with _naming(f"RESULT field {key}", header):
        return unpack_map(name, layout, payload, max_bytes=max_bytes)


class _naming:
    """Add the name of the image, and stream and seq of the message, to refusals of pixels; cheap to enter."""

    def __init__(self, what: str, header: Mapping[str, Any]) -> None:
        self._what, self._header = what, header

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FrameError):
            raise FrameError(
                error.code,
                f"{self._what}: {error.detail}",
                stream=_stream_of(self._header),
                seq=_seq_of(self._header),
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
