"""A BigTIFF that grows page by page and is always valid: a crash leaves at most an incomplete page after its
end.

All pages have the same size and follow each other: a head of 512 bytes, which contains the page's directory,
then its pixels. The position of page n is calculated from n, so a file of any length can be cut or continued
without reading it. A page is written first and linked afterwards, so readers see complete pages only. Text
for the first page is stored after the last page. `docs/decisions/0006-own-page-writer.md` explains why.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_server.recording.page_head import FIRST_LINK, HEAD_BYTES, HEADER, PageHead

_ALIGNED: Final = 64
_FRONT: Final = 64  # bytes before the first page, or before the colour table


class PageFile:
    """A BigTIFF whose pages are all of one kind.

    Parameters
    ----------
    path : Path
        Created with the first page; until then, there is no file.
    shape : tuple of int
        (H, W).
    dtype : {"uint8", "uint16", "float32"}
    pixel_size_um : float or None
    colours : ndarray, optional
        (3, 256) uint16: the colour table of uint8 pages; without it, they are grey.
    """

    def __init__(
        self,
        path: Path,
        *,
        shape: tuple[int, int],
        dtype: str,
        pixel_size_um: float | None,
        colours: NDArray[np.uint16] | None = None,
    ) -> None:
        self.path = path
        self.pages = 0
        self._shape = shape
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._nbytes = math.prod(shape) * self._dtype.itemsize
        self._step = -(-(HEAD_BYTES + self._nbytes) // _ALIGNED) * _ALIGNED
        self._front = HEADER.ljust(_FRONT, b"\0") + (
            b"" if colours is None else colours.astype("<u2").tobytes()
        )
        self._first_head, self._other_head = (
            PageHead(
                shape=shape,
                dtype=self._dtype,
                pixel_size_um=pixel_size_um,
                first=first,
                colours_at=None if colours is None else _FRONT,
            )
            for first in (True, False)
        )
        self._file: FileIO | None = None

    def append(self, pixels: NDArray[Any]) -> None:
        """Add one page, (H, W).

        Raises
        ------
        OSError
            When writing fails; the page is not visible, and the next one takes its place.
        ValueError
            When the page is of another kind.
        """
        if pixels.shape != self._shape or pixels.dtype.newbyteorder("<") != self._dtype:
            raise ValueError(
                f"{self.path.name}: expected a page of {self._shape} {self._dtype.name}, "
                f"got {pixels.shape} {pixels.dtype.name}"
            )
        file, start = self._opened(), self._start(self.pages)
        file.seek(start)
        _write(file, self._head(self.pages).at(start))
        _write(file, np.ascontiguousarray(pixels, self._dtype).data.cast("B"))
        self._link(self.pages, start)
        self.pages += 1

    def read(self, page: int) -> NDArray[Any]:
        """Return a page (H, W) that was written by any process; the file is opened only for this.

        Raises
        ------
        OSError
            When there is no such page.
        """
        with FileIO(self.path, "r") as file:
            file.seek(self._start(page) + HEAD_BYTES)
            content = bytearray(self._nbytes)
            view = memoryview(content)
            while view.nbytes and (count := file.readinto(view)):
                view = view[count:]
        if view.nbytes:
            raise OSError(f"expected page {page} in {self.path.name}, got the end of the file")
        return np.frombuffer(content, self._dtype).reshape(self._shape)

    def put_text(self, text: Iterable[bytes]) -> None:
        """Write this text into the first page, in place of the present one.

        Raises
        ------
        OSError
        """
        if not self.pages:
            return
        file = self._opened()
        start = self._end(self.pages)
        file.seek(start)
        count = sum(_write(file, piece) for piece in text) + _write(file, b"\0")
        file.truncate(start + count)
        self._point(count, start)

    def cut(self, pages: int) -> None:
        """Keep this number of pages and nothing after them; the first page then states that the file is not
        closed.

        Raises
        ------
        OSError
        """
        self.pages = pages
        if not self.path.exists():
            return
        if pages == 0:
            self.close()
            self.path.unlink()
            return
        file = self._opened()
        count, place = self._first_head.own_text
        self._point(count, self._start(0) + place)
        self._link(pages, 0)
        file.truncate(self._end(pages))

    def sound_pages(self, expected: int) -> int:
        """Return the number of complete pages, given how many are expected at least.

        Raises
        ------
        OSError
        """
        if not self.path.exists():
            return 0
        file = self._opened()
        size = file.seek(0, os.SEEK_END)
        held = max(0, min(expected, (size - self._start(0) - HEAD_BYTES - self._nbytes) // self._step + 1))
        while held and not self._is_page(held - 1, size):
            held -= 1
        while held >= expected and self._is_page(held, size):
            held += 1
        return held

    def sync(self) -> None:
        """Wait until everything is on the disk.

        Raises
        ------
        OSError
        """
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; it is opened again for the next write."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> FileIO:
        if self._file is None:
            exists = self.path.exists() and self.path.stat().st_size >= len(self._front)
            self._file = FileIO(self.path, "r+" if exists else "w+")
            if not exists:
                _write(self._file, self._front)
        return self._file

    def _start(self, page: int) -> int:
        return len(self._front) + page * self._step

    def _end(self, pages: int) -> int:
        return self._start(pages - 1) + HEAD_BYTES + self._nbytes

    def _link(self, page: int, start: int) -> None:
        """Write the start of `page` into the page before it."""
        file = self._opened()
        before = self._start(page - 1) + self._head(page - 1).link_place if page else FIRST_LINK
        file.seek(before)
        _write(file, struct.pack("<Q", start))

    def _point(self, count: int, start: int) -> None:
        """Write length and start of the first page's text."""
        file = self._opened()
        file.seek(self._start(0) + self._first_head.text_place)
        _write(file, struct.pack("<QQ", count, start))

    def _is_page(self, page: int, size: int) -> bool:
        start = self._start(page)
        if start + HEAD_BYTES + self._nbytes > size:
            return False
        file = self._opened()
        file.seek(start)
        return self._head(page).matches(file.read(HEAD_BYTES), start)

    def _head(self, page: int) -> PageHead:
        return self._other_head if page else self._first_head


def sync_path(path: Path) -> None:
    """Wait until a file, or a folder's directory entries, are on the disk.

    Raises
    ------
    OSError
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(file: FileIO, content: bytes | bytearray | memoryview) -> int:
    """Write all of it, because the operating system may write only a part at a time."""
    view = memoryview(content)
    while view.nbytes:
        view = view[file.write(view) :]
    return len(content)
