"""Write a TIFF page by page, so that pages are kept after a crash. Needs the extra ``tiff``."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, Union

import numpy as np
import numpy.typing as npt
import tifffile

from dimstream_client.files.support_colours import support_colours

_PAGE_NAME: Final = 285
_LARGEST_RATIONAL: Final = 2**32 - 1
Source = Union[str, "os.PathLike[str]", BinaryIO]


class PageWriter:
    """Appends uncompressed pages of one shape and type.

    Parameters
    ----------
    target : path or binary file
        A path is created or overwritten; a binary file must be seekable and stays open.
    shape : tuple of int
        (H, W) of each page.
    dtype : {"uint8", "uint16", "float32"}
    pixel_size_um : tuple of float, optional
        Sides of a pixel along (x, y), micrometres.
    is_support : bool
        Whether these are support maps, which get a colour table so that viewers do not show them black.
    is_big : bool
        Whether it is a BigTIFF, which may have more than 4 GiB.
    written : int
        Number of pages in an interrupted file, after which writing continues.

    Raises
    ------
    OSError, tifffile.TiffFileError
        When an interrupted file cannot be read.
    """

    def __init__(
        self,
        target: Source,
        *,
        shape: tuple[int, int],
        dtype: str,
        pixel_size_um: tuple[float, float] | None = None,
        is_support: bool = False,
        is_big: bool = False,
        written: int = 0,
    ) -> None:
        self.written = written
        self._target, self._shape, self._dtype = target, shape, dtype
        self._kind: dict[str, Any] = {"photometric": "minisblack"}
        if is_support:
            self._kind = {"photometric": "palette", "colormap": support_colours()}
        if pixel_size_um:
            per_cm = tuple(1e4 / side for side in pixel_size_um)
            if max(per_cm) <= _LARGEST_RATIONAL:  # else OME-XML alone says it
                self._kind.update(resolution=per_cm, resolutionunit="CENTIMETER")
        # Pages after those belong to an incomplete frame, which comes again and is written there.
        self._there = page_offsets(target) if written else []
        self._writer = tifffile.TiffWriter(
            target, bigtiff=is_big, ome=False, append="force" if written else False
        )

    def write(self, pixels: npt.NDArray[Any], *, description: bytes | None = None, label: str = "") -> None:
        """Append one frame, (H, W); `label` must be ASCII.

        Raises
        ------
        OSError
            ENOSPC: when the disk or the user's quota is full.
        """
        if pixels.shape != self._shape or pixels.dtype.name != self._dtype:
            raise ValueError(f"frame of {pixels.shape} {pixels.dtype}, expected {self._shape} {self._dtype}")
        if self.written < len(self._there):
            self._put_in_place(pixels)
            return
        options: dict[str, Any] = {**self._kind}
        if description is not None:
            options["description"] = description
        if label:
            options["extratags"] = [(_PAGE_NAME, "s", 0, label, True)]
        with _as_full_disk(self._target):
            self._writer.write(pixels, metadata=None, **options)
            self._writer.filehandle.flush()  # so that it is kept after a crash
        self.written += 1

    def _put_in_place(self, pixels: npt.NDArray[Any]) -> None:
        file = self._writer.filehandle
        end = file.tell()
        file.seek(self._there[self.written])
        file.write(np.ascontiguousarray(pixels).tobytes())
        file.seek(end)
        self.written += 1

    def close(self, *, description: bytes | None = None) -> None:
        """Close the file with a new description."""
        self._writer.close()
        if description is not None:
            with tifffile.TiffFile(self._target, mode="r+") as file:
                file.pages.first.tags["ImageDescription"].overwrite(description)


@contextmanager
def _as_full_disk(target: Source) -> Iterator[None]:
    """Raise ENOSPC where NumPy only reports that fewer bytes were written than given."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        name = os.fspath(target) if isinstance(target, (str, os.PathLike)) else None
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name) from error


def page_offsets(source: Source) -> list[int]:
    """Return the positions of the pixels of each complete page in a file of uncompressed pages, bytes.

    Raises
    ------
    OSError, tifffile.TiffFileError
        When the file cannot be read.
    """
    with tifffile.TiffFile(source) as file:
        size = file.filehandle.size
        pages = [(page.dataoffsets[0], sum(page.databytecounts)) for page in file.pages]
    return [begin for begin, nbytes in pages if begin + nbytes <= size]
