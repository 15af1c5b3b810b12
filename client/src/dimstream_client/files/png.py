"""Read grey PNG images of 8 or 16 bits; the declared size is checked before unpacking."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.found_image import ArrayPlanes, FoundImage

MAGIC: Final = b"\x89PNG\r\n\x1a\n"
MOST_BYTES: Final = 2**31  # of the pixels, where the caller sets no limit
_HEADER: Final = 26  # bytes up to bit depth and colour type, which stand in the first chunk
_PALETTE: Final = 3
_SAMPLES: Final[Mapping[int, int]] = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}  # that colour types unpack to
_KINDS: Final = {2: "colour", 3: "a colour table", 4: "grey with transparency", 6: "colour and transparency"}
_COLOUR_CODE: Final = np.array([65536, 256, 1])  # of red, green and blue, to one number


def find_png(source: Any, *, max_bytes: int | None) -> list[FoundImage]:
    """Return the image of a PNG file.

    Colour images that are all grey are accepted, without loss. Of a colour table for counts, the numbers are
    read.

    Raises
    ------
    TiffError
        bad_image: colours, transparency, unsupported bit depth, damaged; oversize.
    """
    data = _bytes_of(source)
    if len(data) < _HEADER or data[12:16] != b"IHDR":
        raise TiffError(Code.BAD_IMAGE, "the PNG is cut short; copy it again")
    width, height, bits, colour = struct.unpack(">IIBB", data[16:_HEADER])
    if bits not in (8, 16) or colour not in _SAMPLES:
        raise TiffError(
            Code.BAD_IMAGE,
            f"expected a grey PNG of 8 or 16 bits, got {bits} bits: fewer bits were made for display; save "
            "the counts as TIFF or as PNG of 16 bits",
        )
    declared = width * height * bits // 8 * _SAMPLES[colour]
    most = MOST_BYTES if max_bytes is None else max_bytes
    if declared > most:
        raise TiffError(Code.OVERSIZE, f"the PNG declares {declared} bytes, at most {most} are taken")
    values = _unpacked(data)
    grey = _indices(values, data) if colour == _PALETTE else _grey(values)
    if grey is None or grey.shape != (height, width):
        raise TiffError(
            Code.BAD_IMAGE,
            f"expected a grey PNG of 8 or 16 bits, got {_KINDS.get(colour, 'an unknown kind')}: a coloured "
            "copy for display holds no counts; save the channel that was counted on its own, in grey",
        )
    return [FoundImage("YX", grey.shape, grey.dtype.newbyteorder("="), ArrayPlanes(grey))]


def _bytes_of(source: Any) -> bytes:
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return file.read()
    source.seek(0)
    data: bytes = source.read()
    return data


def _unpacked(data: bytes) -> npt.NDArray[Any]:
    import imagecodecs

    try:
        return np.asarray(imagecodecs.png_decode(data))
    except Exception as error:  # any error of the codec on damaged bytes
        raise TiffError(Code.BAD_IMAGE, f"the PNG cannot be read ({error}); copy it again") from error


def _grey(values: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return the plane of an image whose colours are all grey and opaque."""
    if values.ndim == 2:
        return values
    planes = list(np.moveaxis(values, -1, 0))
    if len(planes) in (2, 4) and not (planes.pop() == np.iinfo(values.dtype).max).all():
        return None
    return planes[0] if all(np.array_equal(plane, planes[0]) for plane in planes) else None


def _indices(values: npt.NDArray[Any], data: bytes) -> npt.NDArray[Any] | None:
    """Return the numbers of a colour table for counts; None for a table of other colours.

    In a table for counts, brightness increases with the count, and each count has its own colour.
    """
    table = _table(data).astype(np.int64)
    codes = table @ _COLOUR_CODE
    brighter = (np.diff(table.sum(axis=1)) >= 0).all()
    if not len(codes) or values.shape[-1] != 3 or not brighter or len(np.unique(codes)) < len(codes):
        return None
    order = np.argsort(codes)
    places = np.searchsorted(codes, values @ _COLOUR_CODE, sorter=order)
    return np.asarray(order[np.minimum(places, len(order) - 1)], np.uint8)


def _table(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the colours of the table, (N, 3); empty if there is no table."""
    at = len(MAGIC)
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name == b"PLTE":
            return np.frombuffer(data[at + 8 : at + 8 + length // 3 * 3], np.uint8).reshape(-1, 3)
        at += 12 + length
    return np.empty((0, 3), np.uint8)
