"""One image of a file as it was found: its axes, where its planes lie, and what of it is not there."""

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

UNNAMED = "QI"  # letters for an axis that the file does not name


class Planes(Protocol):
    """Planes of one shape and type, by number."""

    def __len__(self) -> int: ...

    def stored(self, k: int) -> npt.NDArray[Any]:
        """Return plane `k` as the file stores it, (H, W)."""

    def check(self, k: int) -> bool:
        """Raise TiffError where plane `k` cannot be there; return whether only reading shows that it is."""

    def paths(self) -> tuple[str, ...]:
        """Return the paths of the TIFF files that the planes lie in, where they have paths."""

    def close(self) -> None:
        """Close the files."""


@dataclass(frozen=True)
class FoundImage:
    """One image of a file.

    Parameters
    ----------
    axes, shape
        In the order in which the file declares them, slowest first, ending in ``YX``; `UNNAMED` letters for
        axes without a name.
    dtype : numpy.dtype
        As stored.
    where : (N,) int, optional
        Number in `planes` of each plane in the order of `axes`, -1 where it is not there; None: all are, in
        that order.
    delta_t_s : (N,) float, optional
        Seconds from the start of the acquisition, NaN where the file does not say.
    started_s : float, optional
        When the acquisition started, seconds since 1970.
    labels : sequence of str
        Of the planes in the order of `axes`, or none.
    spare : int
        Pages that are there and belong to no plane that is declared.
    absent_files : tuple of str
        Names of files that hold planes of this image and are not there.
    offset : int
        What the file adds to each count.
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
        """Number in `planes` of each plane, (N,), -1 where it is not there."""
        return np.arange(len(self)) if self.where is None else self.where

    @property
    def kind(self) -> tuple[str, tuple[int, ...], str, int]:
        """What images must share to be one stack."""
        return self.axes, self.shape, self.dtype.name, self.offset


def truncated(n: int) -> TiffError:
    """Return the error of a file that ends before plane `n` does."""
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
        """Return False: all are there."""
        return False

    def paths(self) -> tuple[str, ...]:
        """Return none: it is in memory."""
        return ()

    def close(self) -> None:
        """Let go of the array."""
        del self._array


def check_is_file(path: str | os.PathLike[str]) -> None:
    """Refuse what would hold the reader up for ever when it is opened: a pipe, a device, a socket.

    Raises
    ------
    TiffError
    OSError
        It is not there.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise TiffError(
            Code.BAD_IMAGE,
            f"{os.path.basename(path)} is a pipe, a device or a socket; expected a file: save it as one",
        )
