"""The z-stacks of a TIFF file: read one at a time, and write a cropped copy.

Needs the extra ``tiff`` (tifffile, imagecodecs).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, TiffError
from dimstream_client.files import ImageStack, Scale
from dimstream_client.files.stack_writer import notes_of
from dimstream_client.files.tiff_writer import StackWriter
from dimstream_client.messages import PlaneIndex
from dimstream_client.volumes.views import Brightness, Contrast


def aspect_of(scale: Scale) -> float | None:
    """Return z step / pixel size; None if one is unknown, or pixels are not square."""
    side = scale.square_pixel_um
    return None if scale.z_step_um is None or side is None else scale.z_step_um / side


class VolumeFile:
    """The z-stacks of an open stack.

    Parameters
    ----------
    stack : Stack
        Stays open.

    Attributes
    ----------
    times, channels, positions, depth : int
        Lengths of T, C, P and Z.
    shape : tuple of int
        (Z, H, W) of one z-stack.
    aspect : float or None
        z step / pixel size; None if one is unknown.

    Raises
    ------
    TiffError
        bad_image: when it has no planes along z.
    """

    def __init__(self, stack: ImageStack) -> None:
        sizes = dict(zip(stack.axes, stack.shape))
        if sizes.get("Z", 1) < 2:
            raise TiffError(
                Code.BAD_IMAGE,
                f"expected a z-stack, of several planes along Z, got axes {stack.axes} of {stack.shape}; "
                "if a z-stack was saved as a movie, give --axes ZYX",
            )
        self._stack = stack
        self.times, self.channels, self.positions, self.depth = (sizes.get(axis, 1) for axis in "TCPZ")
        self.shape = (self.depth, *stack.frame_shape)
        self.aspect = aspect_of(stack.scale)

    def read(self, t: int, c: int, p: int) -> npt.NDArray[Any]:
        """Return the z-stack of one time point, channel and position, (Z, H, W).

        Raises
        ------
        TiffError
            When a frame cannot be read.
        """
        out = np.empty(self.shape, self._stack.dtype)
        for z in range(self.depth):
            out[z] = self._stack.read(self._number(PlaneIndex(t, c, z, p)))
        return out

    def contrast(self, c: int, p: int) -> Contrast:
        """Return the contrast of all time points of a channel and position."""
        brightness = Brightness(self.times * self.depth, self._stack.frame_shape)
        for t in range(self.times):
            for z in range(self.depth):
                brightness.add(self._stack.read(self._number(PlaneIndex(t, c, z, p))))
        return brightness.contrast()

    def holds(self, at: PlaneIndex) -> bool:
        """Return whether the file has this plane."""
        return at.t < self.times and at.c < self.channels and at.p < self.positions and at.z < self.depth

    def write_cropped(self, path: Path, first: int, last: int) -> None:
        """Write the stack with only the planes from `first` to `last`; its scale is kept.

        Raises
        ------
        TiffError
            When a frame cannot be read.
        OSError
        """
        stack = self._stack
        shape = tuple(
            last - first + 1 if axis == "Z" else length for axis, length in zip(stack.axes, stack.shape)
        )
        wanted = [n for n in range(len(stack)) if first <= stack.index(n).z <= last]
        with StackWriter(
            path,
            axes=stack.axes,
            shape=shape,
            dtype=stack.dtype,
            scale=stack.scale,
            notes=notes_of(stack, wanted),
        ) as writer:
            for n in wanted:
                writer.write(stack.read(n))

    def _number(self, at: PlaneIndex) -> int:
        """Return the frame number of a plane."""
        axes, shape = self._stack.axes[:-2], self._stack.shape[:-2]
        places = tuple(getattr(at, axis.lower()) for axis in axes)
        return int(np.ravel_multi_index(places, shape))
