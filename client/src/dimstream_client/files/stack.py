"""An open stack of counts: its axes, scale and times, and access to its frames."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.found_image import Planes
from dimstream_client.files.scale import Scale
from dimstream_client.messages import PlaneIndex

EXACT_FLOAT32: Final = 2**24
# Data type of the returned frames: the smallest one that holds all accepted values.
_GIVEN_AS: Final = {
    "bool": "uint8",
    "uint8": "uint8",
    "int8": "uint8",
    "uint16": "uint16",
    "int16": "uint16",
    **dict.fromkeys(("uint32", "int32", "uint64", "int64", "float16", "float32", "float64"), "float32"),
}


@dataclass(frozen=True)
class ImageStack:
    """An open stack of counts; use it as a context manager, or `close` it.

    Parameters
    ----------
    axes : str
        One letter for each axis, slowest first, P before all others, ending in ``YX``: ``"TZYX"``.
    shape : tuple of int
    dtype : {"uint8", "uint16", "float32"}
        Data type of the frames that `read` returns.
    name : str
        Name of the image, if it has one.
    scale : Scale
        Pixel size, z step, frame interval and channel names, if the file has them.
    labels : tuple of str
        Labels of the frames, or none.
    started_s : float, optional
        Start of the acquisition, seconds since 1970.
    remarks : tuple of str
        Sentences about missing, doubtful or ignored data.
    """

    axes: str
    shape: tuple[int, ...]
    dtype: str
    name: str
    scale: Scale
    labels: tuple[str, ...]
    started_s: float | None
    remarks: tuple[str, ...]
    _planes: Planes
    _numbers: npt.NDArray[np.int64]
    _delta_t_s: npt.NDArray[np.float64] | None
    _offset: int
    _below_zero: bool

    @property
    def files(self) -> tuple[Path, ...]:
        """The TIFF files with the frames (several for a set); empty if the source is not a path."""
        return tuple(map(Path, self._planes.paths()))

    @property
    def square_pixel_um(self) -> float | None:
        """Side of a square pixel in micrometres; None if unknown, or pixels are not square."""
        return self.scale.square_pixel_um

    @property
    def frame_interval_s(self) -> float | None:
        """Seconds from one time point to the next."""
        return self.scale.frame_interval_s

    @property
    def frame_shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.shape[-2], self.shape[-1]

    def __len__(self) -> int:
        return math.prod(self.shape[:-2])

    def index(self, n: int) -> PlaneIndex:
        """Return the index of frame `n`; frames are in the order of `axes`."""
        places = np.unravel_index(n, self.shape[:-2]) if len(self.shape) > 2 else ()
        return PlaneIndex(**{axis.lower(): int(place) for axis, place in zip(self.axes, places)})

    def delta_t_s(self, n: int) -> float | None:
        """Return the acquisition time of frame `n`, seconds from the start; None if unknown."""
        time = float("nan") if self._delta_t_s is None else float(self._delta_t_s[n])
        return None if math.isnan(time) else time

    def t_acq(self, n: int) -> float | None:
        """Return the acquisition time of frame `n`, seconds since 1970 if the start is known, else since the
        start.

        None if the file does not have the times of all frames.
        """
        time = self.delta_t_s(n)
        return time if time is None or self.started_s is None else time + self.started_s

    def read(self, n: int) -> npt.NDArray[Any]:
        """Return frame `n`, (H, W) of `dtype`, photon counts.

        Raises
        ------
        TiffError
            bad_image: truncated or damaged; not_finite; wrong_dtype: values below zero, or beyond the range
            of the frames' type.
        """
        return self._counts(self._planes.stored(int(self._numbers[n])), n)

    def frames(self) -> Iterator[npt.NDArray[Any]]:
        """Iterate over the frames, each (H, W) in the unit of the file, in the order of `axes`."""
        return (self.read(n) for n in range(len(self)))

    def asarray(self) -> npt.NDArray[Any]:
        """Return the whole stack with the axes of `axes`, such as (T, Z, H, W), in the unit of the file."""
        out = np.empty((len(self), *self.frame_shape), self.dtype)
        for n in range(len(self)):
            out[n] = self.read(n)
        return out.reshape(self.shape)

    def check(self) -> None:
        """Check all frames, so that no frame is refused after others were sent.

        For unpacked uint8 and uint16, only the existence of frames is checked.

        Raises
        ------
        TiffError
            The error of `read` for the first frame that is refused.
        """
        only_by_reading = not self._holds_any_value()
        for n in range(len(self)):
            if self._planes.check(int(self._numbers[n])) or only_by_reading:
                self.read(n)

    def close(self) -> None:
        """Close the files that were opened for it."""
        self._planes.close()

    def __enter__(self) -> ImageStack:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _holds_any_value(self) -> bool:
        """Whether frames of the stored type have only accepted values."""
        stored = self._planes.stored(int(self._numbers[0])).dtype
        return stored.kind in "bu" and stored.itemsize <= 2 and not self._offset

    def _counts(self, stored: npt.NDArray[Any], n: int) -> npt.NDArray[Any]:
        given = given_as(stored.dtype, self._offset, below_zero=self._below_zero)
        if (stored.shape, given) != (self.frame_shape, self.dtype):
            raise TiffError(
                Code.BAD_IMAGE,
                f"frame {n} is {stored.shape} of {stored.dtype}, expected {self.frame_shape} to be given as "
                f"{self.dtype}: frames of one kind",
            )
        if self._offset:
            stored = stored.astype(np.int32) - self._offset
        kind = stored.dtype.kind
        if kind == "f" and not np.isfinite(stored).all():
            raise TiffError(Code.NOT_FINITE, f"frame {n} holds NaN or infinity, expected finite counts")
        if kind in "if" and not self._below_zero and (least := stored.min()) < 0:
            raise TiffError(
                Code.WRONG_DTYPE,
                f"frame {n} holds {least:g}, expected photon counts from 0 on; say the detector's offset, "
                "which is subtracted, or save the counts as they were taken",
            )
        self._check_range(stored, n)
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(stored, dtype=self.dtype)

    def _check_range(self, stored: npt.NDArray[Any], n: int) -> None:
        """Refuse values that the type of the frames would change."""
        if stored.dtype.kind == "f":
            most = float(np.finfo(np.float32).max)
            if stored.dtype.itemsize > 4 and np.abs(stored).max() > most:
                raise TiffError(Code.WRONG_DTYPE, f"frame {n} holds values beyond the range of float32")
            return
        most = EXACT_FLOAT32 if self.dtype == "float32" else int(np.iinfo(self.dtype).max)
        if stored.dtype.kind == "b" or int(np.iinfo(stored.dtype).max) <= most:
            return
        if int(stored.max()) > most or int(stored.min()) < -most:
            raise TiffError(
                Code.WRONG_DTYPE,
                f"frame {n} holds {stored.max()}, expected photon counts of at most {most}",
            )


def given_as(dtype: np.dtype[Any], offset: int, *, below_zero: bool) -> str:
    """Return the type of the returned frames for the stored type `dtype`.

    Raises
    ------
    TiffError
        wrong_dtype: when values of this type are not counts.
    """
    stored = "int16" if offset else dtype.name
    given = _GIVEN_AS.get(stored)
    if given is None:
        raise TiffError(
            Code.WRONG_DTYPE,
            f"the file holds {dtype.name}, expected counts: integers of 8 to 64 bits, or floats of 16 to 64",
        )
    return "float32" if below_zero and stored in ("int8", "int16") else given
