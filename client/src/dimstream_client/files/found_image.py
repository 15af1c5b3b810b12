"""One image of a file: its axes, the location of its planes, and missing planes."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.scale import Scale

UNNAMED = "QI"  # letters for axes that the file does not name


class Planes(Protocol):
    """Numbered planes of one shape and type."""

    def __len__(self) -> int: ...

    def stored(self, k: int) -> npt.NDArray[Any]:
        """Return plane `k` as stored in the file, (H, W)."""

    def check(self, k: int) -> bool:
        """Raise TiffError if plane `k` is missing; return whether only reading shows whether it exists."""

    def paths(self) -> tuple[str, ...]:
        """Return the paths of the TIFF files with the planes, if they have paths."""

    def close(self) -> None:
        """Close the files."""


@dataclass(frozen=True)
class FoundImage:
    """One image of a file.

    Parameters
    ----------
    axes, shape
        Axes and their lengths in the order of the file, slowest first, ending in ``YX``; axes without a name
        have `UNNAMED` letters.
    dtype : numpy.dtype
        Data type as stored.
    where : (N,) int, optional
        Number in `planes` of each plane in the order of `axes`, -1 if it is missing; None: all exist, in this
        order.
    delta_t_s : (N,) float, optional
        Time of each plane, seconds from the start of the acquisition; NaN if unknown.
    started_s : float, optional
        Start of the acquisition, seconds since 1970.
    labels : sequence of str
        Labels of the planes in the order of `axes`, or none.
    spare : int
        Number of pages that belong to no declared plane.
    absent_files : tuple of str
        Names of missing files with planes of this image.
    offset : int
        Offset that the file adds to each count.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    planes: Planes
    name: str = ""
    scale: Scale = field(default_factory=Scale)
    where: npt.NDArray[np.int64] | None = None
    delta_t_s: npt.NDArray[np.float64] | None = None
    started_s: float | None = None
    labels: Sequence[str] = ()
    spare: int = 0
    absent_files: tuple[str, ...] = ()
    offset: int = 0
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return math.prod(self.shape[:-2])

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        """Number in `planes` of each plane, (N,); -1 if it is missing."""
        return np.arange(len(self)) if self.where is None else self.where

    @property
    def kind(self) -> tuple[str, tuple[int, ...], str, int]:
        """Properties that images of one stack must share."""
        return self.axes, self.shape, self.dtype.name, self.offset


def truncated(n: int) -> TiffError:
    """Return the error for a file that ends before the end of plane `n`."""
    return TiffError(
        Code.BAD_IMAGE, f"the file is truncated: frame {n} ends beyond its end; copy or save it again"
    )


class ArrayPlanes:
    """Planes of an array.

    Parameters
    ----------
    array : (..., H, W) ndarray
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array

    def __len__(self) -> int:
        return math.prod(self._array.shape[:-2])

    def stored(self, k: int) -> npt.NDArray[Any]:
        """Return plane `k`, (H, W)."""
        plane: npt.NDArray[Any] = self._array[np.unravel_index(k, self._array.shape[:-2])]
        return plane

    def check(self, k: int) -> bool:
        """Return False: all planes exist."""
        return False

    def paths(self) -> tuple[str, ...]:
        """Return no paths, because the array is in memory."""
        return ()

    def close(self) -> None:
        """Release the array."""
        del self._array


def check_is_file(path: str | os.PathLike[str]) -> None:
    """Refuse a pipe, a device or a socket, on which opening could block without end.

    Raises
    ------
    TiffError
    OSError
        When the file does not exist.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise TiffError(
            Code.BAD_IMAGE,
            f"{os.path.basename(path)} is a pipe, a device or a socket; expected a file: save it as one",
        )
