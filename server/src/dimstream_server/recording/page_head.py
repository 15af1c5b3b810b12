"""The head of a page of a recorded BigTIFF: its directory, of fixed size, with the positions that change."""

from __future__ import annotations

import math
import struct
from typing import Final

import numpy as np

HEADER: Final = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0)
FIRST_LINK: Final = 8  # position in the header of the first page's offset
HEAD_BYTES: Final = 512
_SHORT, _LONG, _LONG8, _ASCII, _RATIONAL = 3, 4, 16, 2, 5
_CM, _NO_UNIT = 3, 1
_GREY, _PALETTE = 1, 3  # grey: 0 is black
_SAMPLE_FORMATS: Final = {"u": 1, "f": 3}
_TEXT, _PIXELS, _SOFTWARE = 270, 273, 305
_UNFINISHED: Final = b"dimstream recording, not closed yet; `dimstream-server recover` completes it\0"
_MAKER: Final = b"dimstream\0"
_Tag = tuple[int, int, int, int | bytes]


class PageHead:
    """Creates and recognises the heads of pages that are all of one kind.

    Parameters
    ----------
    first : bool
        Whether this is the first page, whose head has a text and the name of the software.
    colours_at : int or None
        Position in the file of the colour table of all pages; None: grey.

    Attributes
    ----------
    link_place : int
        Position in the head of the next page's offset.
    text_place : int
        Position in the head of the text's length and offset, 8 bytes each.
    own_text : tuple of int
        Length and position, in the head, of the text of a file that is not closed.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, int],
        dtype: np.dtype[np.generic],
        pixel_size_um: float | None,
        first: bool,
        colours_at: int | None = None,
    ) -> None:
        tags = self._tags(shape, dtype, pixel_size_um, colours_at)
        if not first:
            tags = [tag for tag in tags if tag[0] not in (_TEXT, _SOFTWARE)]
        self.link_place = 8 + 20 * len(tags)
        texts = self.link_place + 8
        self.own_text = (len(_UNFINISHED), texts)
        starts = {_PIXELS: HEAD_BYTES, _TEXT: texts, _SOFTWARE: texts + len(_UNFINISHED)}
        places = {tag[0]: 8 + 20 * n + 12 for n, tag in enumerate(tags)}
        self.text_place = places.get(_TEXT, 0) - 8
        self._relative = [(places[tag], start) for tag, start in starts.items() if tag in places]
        directory = struct.pack("<Q", len(tags)) + b"".join(_packed(tag) for tag in tags) + bytes(8)
        self._bytes = (directory + (_UNFINISHED + _MAKER if first else b"")).ljust(HEAD_BYTES, b"\0")
        self._first = first

    def at(self, start: int) -> bytearray:
        """Return the head of a page that starts there and is the last one."""
        head = bytearray(self._bytes)
        for place, relative in self._relative:
            struct.pack_into("<Q", head, place, start + relative)
        return head

    def matches(self, head: bytes, start: int) -> bool:
        """Whether this is the head of such a page, whatever the offsets of its text and the next page."""
        came, expected = bytearray(head), self.at(start)
        for changing in (came, expected):
            changing[self.link_place : self.link_place + 8] = bytes(8)
            if self._first:
                changing[self.text_place : self.text_place + 16] = bytes(16)
        return came == expected

    def _tags(
        self,
        shape: tuple[int, int],
        dtype: np.dtype[np.generic],
        pixel_size_um: float | None,
        colours_at: int | None,
    ) -> list[_Tag]:
        """Return (tag, type, count, value) in the order of tags; values relative to the page are 0."""
        height, width = shape
        unit, per_unit = _resolution(pixel_size_um)
        return [
            (256, _LONG, 1, width),
            (257, _LONG, 1, height),
            (258, _SHORT, 1, 8 * dtype.itemsize),
            (259, _SHORT, 1, 1),  # not compressed
            (262, _SHORT, 1, _GREY if colours_at is None else _PALETTE),
            (_TEXT, _ASCII, len(_UNFINISHED), 0),
            (_PIXELS, _LONG8, 1, 0),
            (277, _SHORT, 1, 1),
            (278, _LONG, 1, height),
            (279, _LONG8, 1, math.prod(shape) * dtype.itemsize),
            (282, _RATIONAL, 1, per_unit),
            (283, _RATIONAL, 1, per_unit),
            (296, _SHORT, 1, unit),
            (_SOFTWARE, _ASCII, len(_MAKER), 0),
            *([] if colours_at is None else [(320, _SHORT, 3 * 256, colours_at)]),
            (339, _SHORT, 1, _SAMPLE_FORMATS[dtype.kind]),
        ]


def _packed(tag: _Tag) -> bytes:
    number, kind, count, value = tag
    return struct.pack("<HHQ", number, kind, count) + (
        value if isinstance(value, bytes) else struct.pack("<Q", value)
    )


def _resolution(pixel_size_um: float | None) -> tuple[int, bytes]:
    """Return the unit, and the pixels per unit."""
    if not pixel_size_um:
        return _NO_UNIT, struct.pack("<II", 1, 1)
    per_cm = min(1e4 / pixel_size_um, 2.0**32 - 1)
    scale = 1000 if per_cm < 4e6 else 1
    return _CM, struct.pack("<II", max(round(per_cm * scale), 1), scale)
