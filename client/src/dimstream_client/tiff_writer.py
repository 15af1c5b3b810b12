"""Write stacks of counts as OME-TIFF, page by page. Needs the extra ``tiff``."""

from __future__ import annotations

import math
import os
from typing import Any, BinaryIO, Union

import numpy as np
import numpy.typing as npt
import tifffile

from dimstream_client.tiff_metadata import Scale, ome_xml

Source = Union[str, "os.PathLike[str]", BinaryIO]


class StackWriter:
    """Write an OME-TIFF page by page; Fiji, napari and tifffile open it with its axes and pixel size.

    Parameters
    ----------
    target : path or binary file
        A path is created or overwritten; a file must be able to seek and stays open.
    axes, shape
        As of a `Stack`; P, where there is one, comes first.
    dtype : {"uint8", "uint16", "float32"}
    scale : Scale
    """

    def __init__(
        self, target: Source, *, axes: str, shape: tuple[int, ...], dtype: str, scale: Scale | None = None
    ) -> None:
        if axes.find("P") > 0 or axes[-2:] != "YX" or len(axes) != len(shape):
            raise ValueError(f"axes {axes!r} do not fit shape {shape}, expected [P][TCZ]YX")
        self._target = target
        self._axes, self._shape, self._dtype = axes, shape, dtype
        self._scale = scale or Scale()
        self._written = 0
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        self._writer = tifffile.TiffWriter(target, bigtiff=nbytes > 2**32 - 2**25, ome=False)

    def write(self, pixels: npt.NDArray[Any]) -> None:
        """Append one frame, (H, W), in the order of the axes."""
        if pixels.shape != self._shape[-2:] or pixels.dtype.name != self._dtype:
            raise ValueError(
                f"frame of {pixels.shape} {pixels.dtype}, expected {self._shape[-2:]} {self._dtype}"
            )
        options: dict[str, Any] = {}
        if self._written == 0:
            options["description"] = ome_xml(self._axes, self._shape, self._dtype, self._scale)
        if self._scale.pixel_size_um:
            per_cm = 1e4 / self._scale.pixel_size_um
            options.update(resolution=(per_cm, per_cm), resolutionunit="CENTIMETER")
        self._writer.write(pixels, photometric="minisblack", metadata=None, **options)
        self._written += 1

    def close(self) -> None:
        """Close the file; one that got fewer frames than declared says so in its metadata.

        Such a file is declared as a movie of the frames that were written.
        """
        self._writer.close()
        if 0 < self._written < math.prod(self._shape[:-2]):
            shape = (self._written, *self._shape[-2:])
            description = ome_xml("TYX", shape, self._dtype, self._scale)
            with tifffile.TiffFile(self._target, mode="r+") as file:
                file.pages.first.tags["ImageDescription"].overwrite(description)

    def __enter__(self) -> StackWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
