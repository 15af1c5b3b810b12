"""Grey PNG files: one plane of counts in 8 or 16 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.errors import InvalidPairs

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
HEADER: Final = 26  # bytes up to bit depth and colour type, which stand in the first chunk
GREY: Final = 0
PALETTE: Final = 3
COLOUR_CODE: Final = np.array([65536, 256, 1])  # of red, green and blue, to one number
KINDS: Final = {2: "colour", 3: "a colour table", 4: "grey with transparency", 6: "colour and transparency"}


def read_png(path: Path, stack: str | None) -> tuple[NDArray[Any], tuple[float, float] | None]:
    """Return the plane (H, W), uint8 or uint16, and None: a PNG file states dots per metre of a page.

    Raises
    ------
    InvalidPairs
        When it is no PNG, holds colours or transparency, or has fewer than 8 bits per pixel. Colours that are
        all grey are taken, as nothing is lost; of a colour table of counts the numbers behind it.
    """
    if stack is not None:
        raise InvalidPairs(f"a PNG file has no stack {stack!r}: name the file alone")
    content = path.read_bytes()
    if len(content) < HEADER or not content.startswith(SIGNATURE):
        raise InvalidPairs("expected a PNG file, got other bytes: save the image again, as TIFF or PNG")
    bits, kind = content[HEADER - 2], content[HEADER - 1]
    if bits not in (8, 16):
        raise InvalidPairs(
            f"expected a grey PNG of 8 or 16 bits, got {bits} bits: fewer bits were made for display; save"
            " the counts as TIFF or as PNG of 16 bits"
        )
    values = np.asarray(imagecodecs.png_decode(content))
    grey = _indices(values, content) if kind == PALETTE else _grey(values)
    if grey is None:
        raise InvalidPairs(
            f"expected a grey PNG of 8 or 16 bits, got {KINDS.get(kind, 'an unknown kind')}: a coloured copy"
            " for display holds no counts; save the channel that was counted on its own, in grey"
        )
    return grey, None


def _grey(values: NDArray[Any]) -> NDArray[Any] | None:
    """Return the plane of an image whose colours are all grey and opaque, so that nothing is lost."""
    if values.ndim == 2:
        return values
    planes = list(np.moveaxis(values, -1, 0))
    if len(planes) in (2, 4) and not (planes.pop() == np.iinfo(values.dtype).max).all():
        return None
    return planes[0] if all(np.array_equal(plane, planes[0]) for plane in planes) else None


def _indices(values: NDArray[Any], content: bytes) -> NDArray[Any] | None:
    """Return the numbers behind a colour table, as they were counted; None for a table of mere colours.

    A table that shows counts grows brighter with the count, and gives each its own colour.
    """
    table = _table(content).astype(np.int64)
    codes = table @ COLOUR_CODE
    brighter = (np.diff(table.sum(axis=1)) >= 0).all()
    if values.shape[-1] != 3 or not brighter or len(np.unique(codes)) < len(codes):
        return None
    order = np.argsort(codes)
    return np.asarray(order[np.searchsorted(codes, values @ COLOUR_CODE, sorter=order)], np.uint8)


def _table(content: bytes) -> NDArray[np.uint8]:  # (N, 3)
    at = len(SIGNATURE)
    while at + 8 <= len(content):
        length, name = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if name == b"PLTE":
            return np.frombuffer(content[at + 8 : at + 8 + length // 3 * 3], np.uint8).reshape(-1, 3)
        at += 12 + length
    raise ValueError("no colour table")
