"""Tensors of the Open Inference Protocol as bytes, and as JSON."""

import math
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_server.endpoints.http.open_inference.bodies import InputTensor
from dimstream_server.problem_details import RequestRefused

DTYPES: Final = {
    "BOOL": "|b1",
    "UINT8": "|u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "|i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_KINDS: Final = {"b": "b", "u": "bui", "i": "bui", "f": "buif"}  # of numbers in JSON, by what they become


def dtype_of(tensor: InputTensor) -> np.dtype[Any]:
    """The numpy type of an input.

    Raises
    ------
    RequestRefused
        wrong_dtype
    """
    if tensor.datatype not in DTYPES:
        raise RequestRefused(
            "wrong_dtype",
            f"expected {tensor.name} to have a datatype among {', '.join(DTYPES)}, got {tensor.datatype!r}",
        )
    return np.dtype(DTYPES[tensor.datatype])


def size_of(tensor: InputTensor) -> int:
    """Bytes of an input by its shape and datatype; nothing is allocated."""
    return math.prod(tensor.shape) * dtype_of(tensor).itemsize


def values_in_json(tensor: InputTensor) -> NDArray[Any]:
    """The values of an input's `data`, (N,) of its datatype.

    Raises
    ------
    RequestRefused
        bad_field: they are not as many numbers as its shape says, or of other types.
    """
    dtype = dtype_of(tensor)
    expected = f"expected {math.prod(tensor.shape)} values of {tensor.datatype} in data of {tensor.name}"
    try:
        found = np.asarray(tensor.data).reshape(-1)
    except (ValueError, OverflowError) as error:
        raise RequestRefused("bad_field", f"{expected}, got lists of uneven lengths or depths") from error
    if found.size != math.prod(tensor.shape):
        raise RequestRefused("bad_field", f"{expected}, as shape {tensor.shape} says, got {found.size}")
    if found.dtype.kind not in _KINDS[dtype.kind]:
        raise RequestRefused("bad_field", f"{expected}, got others, such as {found[0]!r:.40}")
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        if int(found.min()) < limits.min or int(found.max()) > limits.max:
            raise RequestRefused(
                "bad_field",
                f"{expected}, thus from {limits.min} to {limits.max}, got {found.min()} to {found.max()}",
            )
    with np.errstate(over="ignore"):
        return found.astype(dtype)


def as_bytes(array: NDArray[Any]) -> bytes | memoryview:
    """A tensor (...) as it travels after the JSON: little-endian; texts each behind their length."""
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(text)) + text for text in array.reshape(-1))
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def as_json(array: NDArray[Any]) -> list[Any]:
    """The values of a tensor (...) for JSON, flat; null for NaN, which JSON has not."""
    flat = array.reshape(-1)
    if array.dtype == object:
        return [text.decode() for text in flat]
    if array.dtype.kind == "f" and not np.isfinite(flat).all():
        return [value if math.isfinite(value) else None for value in flat.tolist()]
    values: list[Any] = flat.tolist()
    return values
