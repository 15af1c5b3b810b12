"""The planes of an image layer as frames for a stream, checked one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, FrameError
from dimstream_client.messages import PlaneIndex

AXES: Final = {2: ("YX",), 3: ("TYX", "ZYX", "CYX"), 4: ("TZYX", "TCYX", "CZYX"), 5: ("TCZYX", "TZCYX")}
"""Possible axes of an array by their number; the first one is the default."""
_EXACT: Final = 2**24  # whole numbers up to here are exact in float32


class StackFrames:
    """An array of 2 to 5 axes, read plane by plane: numpy, dask, zarr and others.

    Parameters
    ----------
    data : array
        (..., H, W), photon counts or detector values.
    axes : str
        One of `AXES`.

    Raises
    ------
    FrameError
        When the array is not a stack of grey images.
    """

    def __init__(self, data: Any, axes: str) -> None:
        if axes not in AXES.get(data.ndim, ()):
            raise FrameError(
                Code.WRONG_SHAPE,
                f"expected axes of {data.ndim} letters, one of {', '.join(AXES.get(data.ndim, ('none',)))},"
                f" got {axes}",
            )
        self._data, self._axes = data, axes
        self.dtype = _sent_as(np.dtype(data.dtype))

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., H, W)."""
        return tuple(self._data.shape)

    def __len__(self) -> int:
        return math.prod(self.shape[:-2])

    def place(self, seq: int) -> tuple[int, ...]:
        """Return the index of frame `seq` in the array, without y and x."""
        return tuple(int(at) for at in np.unravel_index(seq, self.shape[:-2])) if self._data.ndim > 2 else ()

    def __iter__(self) -> Iterator[tuple[npt.NDArray[Any], PlaneIndex]]:
        """Yield each plane, (H, W), and its index.

        Raises
        ------
        FrameError
            When values cannot be sent; with the number of the frame.
        """
        for seq in range(len(self)):
            place = self.place(seq)
            index = PlaneIndex(**{name.lower(): at for name, at in zip(self._axes, place)})
            yield _checked(np.asarray(self._data[place]), self.dtype, seq), index


def _sent_as(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b" or dtype in (np.uint8, np.int8):
        return np.dtype(np.uint8)
    if dtype in (np.uint16, np.int16):
        return np.dtype(np.uint16)
    if dtype.kind in "iuf":
        return np.dtype(np.float32)
    raise FrameError(
        Code.WRONG_DTYPE, f"expected an image of whole or floating-point numbers, this layer has {dtype}"
    )


def _checked(plane: npt.NDArray[Any], dtype: np.dtype[Any], seq: int) -> npt.NDArray[Any]:
    if plane.dtype.kind == "i" and plane.size and plane.min() < 0 and dtype.kind == "u":
        raise FrameError(
            Code.WRONG_DTYPE,
            f"frame {seq} holds values below zero ({plane.min()}); expected photon counts: convert the layer"
            " to float32 and give the detector's offset and gain",
        )
    if plane.dtype.kind in "iu" and dtype.kind == "f" and plane.size and np.abs(plane).max() > _EXACT:
        raise FrameError(
            Code.WRONG_DTYPE, f"frame {seq} holds {plane.max()}, which float32 cannot hold exactly; divide it"
        )
    return np.ascontiguousarray(plane, dtype)
