"""Conversion of arrays to payload bytes and back, with checks before memory is allocated."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Union

import numpy as np
import numpy.typing as npt

from dimstream_client import header_checks as checks
from dimstream_client.errors import Code, FrameError
from dimstream_client.header_checks import Check, Refused
from dimstream_client.messages import Open

Part = Union[bytes, memoryview]

_LAYOUT: Final[Mapping[str, Check]] = {
    "shape": checks.shape,
    "dtype": checks.dtype,
    "codec": checks.codec,
    "crc32": checks.crc32,
}

_DTYPES: Final = {name: np.dtype(name).newbyteorder("<") for name in checks.DTYPES}
_NAMES: Final = {np.dtype(name): name for name in checks.DTYPES}  # numpy makes a name anew at each call


class Layout(NamedTuple):
    """Shape, type and compression of a payload, from its header."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    codec: str
    crc32: int | None

    @property
    def nbytes(self) -> int:
        """Size of the unpacked pixels, bytes."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


def largest_result_bytes(request: Open) -> int:
    """Return the largest payload of a stream's results, bytes; packing can make data larger."""
    widest = max(np.dtype(request.out_dtype).itemsize, 4 if request.sd else 1)
    raw = request.shape[0] * request.shape[1] * widest
    return raw + raw // 256 + 1024


def pack(pixels: npt.NDArray[Any], *, codec: str, checksum: bool) -> tuple[dict[str, Any], Part]:
    """Return the header fields shape, dtype, codec and crc32 of (H, W) pixels, and the payload.

    The codec "none" copies nothing.

    Raises
    ------
    FrameError
        wrong_dtype, wrong_shape or bad_codec.
    """
    name = _NAMES.get(pixels.dtype) or pixels.dtype.name
    if name not in checks.DTYPES:
        raise FrameError(
            Code.WRONG_DTYPE, f"pixels are {pixels.dtype}, expected one of {', '.join(checks.DTYPES)}"
        )
    if pixels.ndim != 2 or not all(1 <= side <= checks.MAX_SIDE for side in pixels.shape):
        raise FrameError(
            Code.WRONG_SHAPE,
            f"pixels have shape {pixels.shape}, expected (H, W), 1 to {checks.MAX_SIDE} each",
        )
    packed = np.ascontiguousarray(pixels, dtype=np.dtype(name).newbyteorder("<"))
    payload: Part = packed.data.cast("B")
    if codec == "zlib":
        payload = zlib.compress(payload, 1)
    elif codec != "none":
        raise FrameError(Code.BAD_CODEC, f"codec {codec!r} is unknown, expected one of {checks.CODECS}")
    header: dict[str, Any] = {"shape": list(pixels.shape), "dtype": name, "codec": codec}
    if checksum:
        header["crc32"] = zlib.crc32(payload)
    return header, payload


MAPS: Final[Mapping[str, str]] = {"support": "uint8", "sd": "float32"}
"""Further images of a RESULT and their pixel types, which are therefore not in the header."""


def pack_map(
    name: str, image: npt.NDArray[Any], *, codec: str, checksum: bool
) -> tuple[dict[str, Any], Part]:
    """Return the header's object, shape, codec and crc32, and the payload of one of `MAPS`, (H, W).

    Raises
    ------
    FrameError
        wrong_dtype, wrong_shape or bad_codec.
    """
    if image.dtype != np.dtype(MAPS[name]):
        raise FrameError(Code.WRONG_DTYPE, f"{name} is {image.dtype}, expected {MAPS[name]}")
    layout, payload = pack(image, codec=codec, checksum=checksum)
    del layout["dtype"]
    return layout, payload


def unpack_map(name: str, layout: Any, payload: Part, *, max_bytes: int) -> npt.NDArray[Any]:
    """Return one of `MAPS`, (H, W), a read-only view of `payload` unless it was packed.

    Raises
    ------
    FrameError
        wrong_shape, bad_codec, bad_field, oversize, bad_checksum or wrong_size.
    """
    if not isinstance(layout, dict):
        raise FrameError(
            Code.BAD_FIELD, f"expected a JSON object with shape, codec, crc32, got {checks.short(layout)}"
        )
    return unpack({**layout, "dtype": MAPS[name]}, payload, max_bytes=max_bytes)


def unpack(header: Mapping[str, Any], payload: Part, *, max_bytes: int) -> npt.NDArray[Any]:
    """Return the pixels, (H, W) detector values, a read-only view of `payload` unless it was packed.

    Raises
    ------
    FrameError
        wrong_shape, wrong_dtype, bad_codec, bad_field, oversize, bad_checksum or wrong_size.
    """
    return unpack_as(layout_of(header), payload, max_bytes=max_bytes)


def unpack_as(layout: Layout, payload: Part, *, max_bytes: int) -> npt.NDArray[Any]:
    """Return the (H, W) pixels of a payload whose layout is known, as `unpack`.

    Raises
    ------
    FrameError
        oversize, bad_checksum, bad_codec or wrong_size.
    """
    check_size(layout, payload, max_bytes=max_bytes)
    if layout.crc32 is not None and (found := zlib.crc32(payload)) != layout.crc32:
        raise FrameError(
            Code.BAD_CHECKSUM,
            f"crc32 of the payload is {found}, the header says {layout.crc32}; send it again",
        )
    data = _inflated(payload, layout) if layout.codec == "zlib" else payload
    if len(data) != layout.nbytes:
        raise FrameError(
            Code.WRONG_SIZE,
            f"payload of {len(data)} bytes, expected {layout.nbytes} for {list(layout.shape)} {layout.dtype}",
            expected={"bytes": layout.nbytes},
        )
    pixels = np.frombuffer(data, dtype=layout.dtype).reshape(layout.shape)
    if not pixels.flags.aligned:
        pixels = pixels.copy()
    pixels.flags.writeable = False
    return pixels


def check_size(layout: Layout, payload: Part, *, max_bytes: int) -> None:
    """Refuse pixels that are too large, packed or as they will be when unpacked.

    Raises
    ------
    FrameError
        oversize.
    """
    size = max(layout.nbytes, len(payload))
    if size > max_bytes:
        raise FrameError(
            Code.OVERSIZE,
            f"{size} bytes of pixels came, expected at most {max_bytes}",
            expected={"max_frame_bytes": max_bytes},
        )


def layout_of(header: Mapping[str, Any]) -> Layout:
    """Return the layout of the payload.

    Raises
    ------
    FrameError
        wrong_shape, wrong_dtype, bad_codec or bad_field.
    """
    values: dict[str, Any] = {"codec": "none", "crc32": None}
    for key, check in _LAYOUT.items():
        value = header.get(key)
        if value is None and key in values:
            continue
        try:
            values[key] = check(value)
        except Refused as refusal:
            raise FrameError(
                refusal.code, f"field {key}: expected {refusal}, got {checks.short(value)}"
            ) from None
    values["dtype"] = _DTYPES[values["dtype"]]
    return Layout(**values)


def _inflated(payload: Part, layout: Layout) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(payload, layout.nbytes + 1)
    except zlib.error as error:
        raise FrameError(Code.BAD_CODEC, f"the payload is not a zlib stream: {error}") from None
    if len(data) <= layout.nbytes and not (unpacker.eof and not unpacker.unused_data):
        raise FrameError(Code.BAD_CODEC, "the zlib stream is cut short or is followed by other bytes")
    return data
