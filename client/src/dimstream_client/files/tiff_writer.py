"""Write stacks of counts as OME-TIFF, page by page. Needs the extra ``tiff``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dimstream_client.files.ome_writer import PlaneNotes, ome_xml
from dimstream_client.files.page_writer import PageWriter, Source, page_offsets
from dimstream_client.files.scale import Scale

__all__ = ["Source", "StackWriter", "page_offsets"]


class StackWriter:
    """Writes an OME-TIFF page by page; Fiji, napari and tifffile open it with its axes and pixel size.

    Parameters
    ----------
    target : path or binary file
        A path is created or overwritten; a binary file must be seekable and stays open.
    axes, shape
        As of an `ImageStack`; P, if there is one, is first.
    dtype : {"uint8", "uint16", "float32"}
    scale : Scale
    notes : PlaneNotes
        Times and labels of single planes.
    is_support : bool
        Whether these are support maps, which get a colour table so that viewers do not show them black.
    written : int
        Number of pages in an interrupted file, after which writing continues.
    may_grow : bool
        Whether frames beyond `shape` can be added later, for which a BigTIFF is written.

    Raises
    ------
    OSError, tifffile.TiffFileError
        When an interrupted file cannot be read.
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
        self._axes, self._shape, self._dtype = axes, shape, dtype
        self._scale = scale or Scale()
        self._notes = notes or PlaneNotes()
        self._goes_on = written > 0
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        self._pages = PageWriter(
            target,
            shape=(shape[-2], shape[-1]),
            dtype=dtype,
            pixel_size_um=self._scale.pixel_size_um,
            is_support=is_support,
            is_big=may_grow or nbytes > 2**32 - 2**25,
            written=written,
        )

    def write(self, pixels: npt.NDArray[Any]) -> None:
        """Append one frame, (H, W), in the order of the axes.

        Raises
        ------
        OSError
            ENOSPC: when the disk or the user's quota is full.
        """
        is_first = self._pages.written == 0
        self._pages.write(
            pixels,
            description=self._described(self._axes, self._shape) if is_first else None,
            label=self._label(),
        )

    def _label(self) -> str:
        """Return the label of the next page, in ASCII."""
        labels, n = self._notes.labels, self._pages.written
        label = labels[n] if n < len(labels) else ""
        return label.replace("\0", " ").encode("ascii", "replace").decode()

    def _described(self, axes: str, shape: tuple[int, ...]) -> bytes:
        return ome_xml(axes, shape, self._dtype, self._scale, self._notes)

    def close(self) -> None:
        """Close the file; if it has fewer frames than declared, correct its metadata.

        Such a file is declared as a movie of the written frames.
        """
        written = self._pages.written
        if 0 < written < math.prod(self._shape[:-2]):
            self._pages.close(description=self._described("TYX", (written, *self._shape[-2:])))
        elif self._goes_on:
            self._pages.close(description=self._described(self._axes, self._shape))
        else:
            self._pages.close()

    def __enter__(self) -> StackWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
