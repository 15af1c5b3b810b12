"""Write stacks of counts as OME-TIFF, page by page. Needs the extra ``tiff``."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, Union

import numpy as np
import numpy.typing as npt
import tifffile

from dimstream_client.files.ome_writer import PlaneNotes, ome_xml
from dimstream_client.files.scale import Scale
from dimstream_client.files.support_colours import support_colours

_PAGE_NAME: Final = 285
_LARGEST_RATIONAL: Final = 2**32 - 1
Source = Union[str, "os.PathLike[str]", BinaryIO]


class StackWriter:
    """Write an OME-TIFF page by page; Fiji, napari and tifffile open it with its axes and pixel size.

    Parameters
    ----------
    target : path or binary file
        A path is created or overwritten; a file must be able to seek and stays open.
    axes, shape
        As of an `ImageStack`; P, where there is one, comes first.
    dtype : {"uint8", "uint16", "float32"}
    scale : Scale
    notes : PlaneNotes
        Times and labels of single planes.
    is_support : bool
        Whether these are support maps: they get a colour table, so that viewers show more than black.
    written : int
        Pages that are in a file already which was broken off; it is gone on with behind them.
    may_grow : bool
        Whether there may be more frames than `shape` has, when it is gone on with: then it is a BigTIFF.

    Raises
    ------
    OSError, tifffile.TiffFileError
        A file that was broken off cannot be read.
    """

    def __init__(
        self,
        target: Source,
        *,
        axes: str,
        shape: tuple[int, ...],
        dtype: str,
        scale: Scale | None = None,
        notes: PlaneNotes | None = None,
        is_support: bool = False,
        written: int = 0,
        may_grow: bool = False,
    ) -> None:
        if axes.find("P") > 0 or axes[-2:] != "YX" or len(axes) != len(shape):
            raise ValueError(f"axes {axes!r} do not fit shape {shape}, expected [P][TCZ]YX")
        self._target = target
        self._axes, self._shape, self._dtype = axes, shape, dtype
        self._scale = scale or Scale()
        self._notes = notes or PlaneNotes()
        self._kind: dict[str, Any] = {"photometric": "minisblack"}
        if is_support:
            self._kind = {"photometric": "palette", "colormap": support_colours()}
        self._written = written
        # Pages behind those are of a frame that was being written: it comes again, and is put there.
        self._there = page_offsets(target) if written else []
        self._goes_on = written > 0
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        big = may_grow or nbytes > 2**32 - 2**25
        self._writer = tifffile.TiffWriter(
            target, bigtiff=big, ome=False, append="force" if written else False
        )

    def write(self, pixels: npt.NDArray[Any]) -> None:
        """Append one frame, (H, W), in the order of the axes.

        Raises
        ------
        OSError
            ENOSPC: the disk is full, or what the user may write is.
        """
        if pixels.shape != self._shape[-2:] or pixels.dtype.name != self._dtype:
            raise ValueError(
                f"frame of {pixels.shape} {pixels.dtype}, expected {self._shape[-2:]} {self._dtype}"
            )
        if self._written < len(self._there):
            self._put_in_place(pixels)
            return
        options: dict[str, Any] = {**self._kind}
        if self._written == 0:
            options["description"] = ome_xml(self._axes, self._shape, self._dtype, self._scale, self._notes)
        if label := self._label():
            options["extratags"] = [(_PAGE_NAME, "s", 0, label, True)]
        if self._scale.pixel_size_um:
            per_cm = tuple(1e4 / side for side in self._scale.pixel_size_um)
            if max(per_cm) <= _LARGEST_RATIONAL:  # else OME-XML alone says it
                options.update(resolution=per_cm, resolutionunit="CENTIMETER")
        with _as_full_disk(self._target):
            self._writer.write(pixels, metadata=None, **options)
            self._writer.filehandle.flush()  # so that it outlives this program
        self._written += 1

    def _label(self) -> str:
        """The label of the next page, in the letters that TIFF has."""
        labels = self._notes.labels
        label = labels[self._written] if self._written < len(labels) else ""
        return label.replace("\0", " ").encode("ascii", "replace").decode()

    def _put_in_place(self, pixels: npt.NDArray[Any]) -> None:
        file = self._writer.filehandle
        end = file.tell()
        file.seek(self._there[self._written])
        file.write(np.ascontiguousarray(pixels).tobytes())
        file.seek(end)
        self._written += 1

    def close(self) -> None:
        """Close the file; one that got fewer frames than declared says so in its metadata.

        Such a file is declared as a movie of the frames that were written.
        """
        self._writer.close()
        is_short = 0 < self._written < math.prod(self._shape[:-2])
        if is_short or self._goes_on:
            axes, shape = (
                ("TYX", (self._written, *self._shape[-2:])) if is_short else (self._axes, self._shape)
            )
            description = ome_xml(axes, shape, self._dtype, self._scale, self._notes)
            with tifffile.TiffFile(self._target, mode="r+") as file:
                file.pages.first.tags["ImageDescription"].overwrite(description)

    def __enter__(self) -> StackWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@contextmanager
def _as_full_disk(target: Source) -> Iterator[None]:
    """Say that the disk is full where NumPy only says that fewer bytes were written than were given."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        name = os.fspath(target) if isinstance(target, (str, os.PathLike)) else None
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name) from error


def page_offsets(source: Source) -> list[int]:
    """Return where the pixels of each page begin, of a file of uncompressed pages; half a page is none.

    Raises
    ------
    OSError, tifffile.TiffFileError
        The file cannot be read.
    """
    with tifffile.TiffFile(source) as file:
        size = file.filehandle.size
        pages = [(page.dataoffsets[0], sum(page.databytecounts)) for page in file.pages]
    return [begin for begin, nbytes in pages if begin + nbytes <= size]
