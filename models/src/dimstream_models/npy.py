"""The header of an ``.npy`` file, checked before memory for its array is allocated."""

from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

_READERS: Mapping[tuple[int, int], Callable[[IO[bytes]], Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

MAX_SIDE = 2**40
"""Largest side of an array. No memory is large enough for more, and a number with thousands of digits cannot
be printed."""


class Header(NamedTuple):
    """Shape, order and type of the values that follow."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


def read_header(file: IO[bytes]) -> Header:
    """Return the header; afterwards, the file's position is at the first value.

    Raises
    ------
    ValueError
        When the header is wrong; the message says why.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"version {version} of the format, expected (1, 0) or (2, 0)")
        header = Header(*_READERS[version](file))
    except ValueError:
        raise
    except Exception as error:  # numpy's parser of the text may raise any of these
        raise ValueError(f"its header is not a dictionary ({type(error).__name__})") from error
    if any(type(side) is not int or not 0 <= side <= MAX_SIDE for side in header.shape):
        raise ValueError(f"shape {header.shape!s:.100}, expected whole numbers from 0 to {MAX_SIDE}")
    return header
