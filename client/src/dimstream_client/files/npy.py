"""Read arrays in ``.npy`` files; the header is checked before memory is allocated."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from typing import Any, Callable, Final

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import Code, TiffError
from dimstream_client.files.found_image import ArrayPlanes, FoundImage

MAGIC: Final = b"\x93NUMPY"
_HEADS: Final[Mapping[tuple[int, int], Callable[[Any], Any]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_HEAD_BYTES: Final = 65_536
_MAX_SIDE: Final = (
    2**40
)  # more does not fit into memory, and a number of thousands of digits cannot be printed
_COLOURS: Final = (2, 3, 4)
_AXES_OF_NDIM: Final = {2: "YX", 3: "TYX", 4: "TZYX", 5: "TZCYX"}


def read_npy(source: Any, *, axes: str | None, max_bytes: int | None) -> FoundImage:
    """Return the image in an NPY file; pixels are a view of the bytes or of the file.

    Parameters
    ----------
    source : path, binary file or bytes
    axes : str, optional
        Axes; if given, arrays with any number of axes are accepted.

    Raises
    ------
    TiffError
        bad_image: not an NPY file, pickled objects, truncated; oversize; wrong_dtype.
    """
    start, size = _start(source)
    shape, fortran, dtype = _head(start)
    if dtype.hasobject or dtype.kind not in "buif":
        raise TiffError(
            Code.WRONG_DTYPE, f"the array is {dtype!s:.100}, expected counts; convert it with .astype(...)"
        )
    named = axes or _AXES_OF_NDIM.get(len(shape), "")
    if len(named) != len(shape):
        remark = f" with axes {axes}" if axes else ""
        raise TiffError(
            Code.BAD_IMAGE,
            f"expected an array of 2 to 5 axes, YX the last, got shape {shape!s:.100}{remark}; say which "
            "axes they are",
        )
    if axes is None and len(shape) > 2 and shape[-1] in _COLOURS and min(shape[-3:-1]) > max(_COLOURS):
        raise TiffError(
            Code.BAD_IMAGE,
            f"the array of shape {shape} seems to hold {shape[-1]} colours or channels of a pixel; expected "
            "YX as its last axes: save the one that was counted, or move the axis "
            "to the front, or say the axes",
        )
    declared, there = math.prod(shape) * dtype.itemsize, size - start.tell()
    if max_bytes is not None and declared > max_bytes:
        raise TiffError(
            Code.OVERSIZE, f"the NPY file declares {declared} bytes, at most {max_bytes} are taken"
        )
    if declared == 0 or there != declared:
        raise TiffError(
            Code.BAD_IMAGE,
            f"the NPY file declares {declared} bytes of pixels (shape {shape}, {dtype}) and holds {there}; "
            "expected as many as it declares, and at least one pixel",
        )
    array = _pixels(source, start.tell(), shape, "F" if fortran else "C", dtype)
    return FoundImage(
        named.upper() if axes is None else "Q" * (len(shape) - 2) + "YX",
        shape,
        dtype.newbyteorder("="),
        ArrayPlanes(array),
    )


def _start(source: Any) -> tuple[io.BytesIO, int]:
    """Return the beginning of the file, and its size."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(bytes(source[:_HEAD_BYTES])), len(source)
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return io.BytesIO(file.read(_HEAD_BYTES)), os.path.getsize(source)
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    return io.BytesIO(source.read(_HEAD_BYTES)), size


def _head(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADS:
            raise ValueError(f"version {version} of the format, expected (1, 0) or (2, 0)")
        shape, fortran, dtype = _HEADS[version](file)
        if any(type(side) is not int or not 0 <= side <= _MAX_SIDE for side in shape):
            raise ValueError(f"shape {shape!s:.100}, expected whole numbers from 0 to {_MAX_SIDE}")
    except Exception as error:  # numpy tokenizes and parses the text, and lets through what that raises
        raise TiffError(
            Code.BAD_IMAGE, f"the NPY header cannot be read: {type(error).__name__}: {str(error)[:200]}"
        ) from error
    return shape, fortran, dtype


def _pixels(
    source: Any, start: int, shape: tuple[int, ...], order: Any, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    if isinstance(source, (str, os.PathLike)):
        mapped: npt.NDArray[Any] = np.memmap(source, dtype, "r", start, shape, order)
        return mapped
    if not isinstance(source, (bytes, bytearray, memoryview)):
        source.seek(start)
        return np.frombuffer(source.read(), dtype).reshape(shape, order=order)
    return np.frombuffer(memoryview(source)[start:], dtype).reshape(shape, order=order)
