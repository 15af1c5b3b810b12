"""Grey PNG images of 8 or 16 bits; the declared size is checked before anything is unpacked."""

from __future__ import annotations

import os
import struct
from typing import Any, Final

import numpy as np

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.found import ArrayPlanes, FoundImage

MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_GREY: Final = 0


def find_png(source: Any, *, max_bytes: int | None) -> list[FoundImage]:
    """Return the image of a PNG file.

    Raises
    ------
    TiffError
        bad_image: colours, bits that are no counts, damaged; oversize.
    """
    data = _bytes_of(source)
    if len(data) < 26 or data[12:16] != b"IHDR":
        raise TiffError(Code.BAD_IMAGE, "the PNG is cut short; copy it anew")
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    if colour != _GREY or bits not in (8, 16):
        raise TiffError(
            Code.BAD_IMAGE,
            f"the PNG has colour type {colour} and {bits} bits; expected grey counts of 8 or 16 bits: a "
            "coloured picture for display holds no counts, save them as TIFF",
        )
    declared = width * height * bits // 8
    if declared > (2**31 if max_bytes is None else max_bytes):
        raise TiffError(Code.OVERSIZE, f"the PNG declares {declared} bytes, at most {max_bytes} are taken")
    import imagecodecs

    try:
        pixels = np.asarray(imagecodecs.png_decode(data))
    except Exception as error:  # whatever damaged bytes make the codec raise
        raise TiffError(Code.BAD_IMAGE, f"the PNG is damaged ({error}); copy it anew") from error
    if pixels.shape != (height, width):
        raise TiffError(
            Code.BAD_IMAGE, f"the PNG holds {pixels.shape}, expected one grey image: save the counts as TIFF"
        )
    return [FoundImage("YX", pixels.shape, pixels.dtype.newbyteorder("="), ArrayPlanes(pixels))]


def _bytes_of(source: Any) -> bytes:
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return file.read()
    source.seek(0)
    data: bytes = source.read()
    return data
