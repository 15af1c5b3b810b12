"""Arguments of programs, converted into header fields or refused in the call.

All arguments of a stream are checked here before anything changes: no number is used, nothing is in the
spool, and the I/O thread has nothing. NumPy scalars and arrays, dtypes, mappings, enums, paths and datetimes
are accepted. Then each value must pass the same check as at the receiver (`headers.HEADERS`), so limits are
defined only once.
"""

from __future__ import annotations

import datetime
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, SupportsFloat, SupportsIndex, Union

import numpy as np
import numpy.typing as npt

from dimstream_client.errors import ArgumentError, Code, FrameError
from dimstream_client.header_checks import DTYPES, MAX_INTEGER, MAX_WINDOW, Refused, short
from dimstream_client.headers import HEADERS
from dimstream_client.json_values import plain, refuse, unwrapped
from dimstream_client.messages import Frame, Open, PlaneIndex, Thresholds
from dimstream_client.quality import plain as plain_figures

__all__ = ["AcquisitionTime", "Boolean", "Index", "Integer", "Number", "Texts"]

Integer = SupportsIndex
Number = Union[SupportsFloat, SupportsIndex]
Boolean = Union[bool, np.bool_]
Texts = Union[Sequence[str], "npt.NDArray[np.str_]"]
Index = Union[PlaneIndex, Mapping[Any, SupportsIndex]]
AcquisitionTime = Union[SupportsFloat, SupportsIndex, datetime.datetime, np.datetime64]

_AXES: Final = ("t", "c", "z", "p")


# --- whole messages


def open_request(*, client: str, shape: Any, dtype: Any, **settings: Any) -> Open:
    """Return the OPEN message for a stream; settings that are None take the default.

    Raises
    ------
    ArgumentError
        bad_field, wrong_shape, wrong_dtype or bad_codec.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    return Open(
        client=field("OPEN", "client", client),
        shape=field("OPEN", "shape", shape),
        dtype=dtype_name(dtype, "dtype"),
        **{name: _setting(name, value) for name, value in given.items()},
    )


def _setting(name: str, value: Any) -> Any:
    if name == "out_dtype":
        value = dtype_name(value, name)
    return field("OPEN", name, value)


def frame_of(frame: Any, *, stream: str, seq: int, request: Open) -> Frame:
    """Return the message for a frame that a program supplies again.

    Raises
    ------
    ArgumentError
        When it is not a frame or not number `seq`, or its index, time or meta cannot be sent.
    FrameError
        When its shape or dtype differ from those of its stream.
    """
    if not isinstance(frame, Frame) or frame.seq != seq:
        number = f" {short(frame.seq)}" if isinstance(frame, Frame) else ""
        raise ArgumentError(
            Code.BAD_FIELD, f"expected the Frame with seq {seq}, got {type(frame).__name__}{number}"
        )
    return replace(
        frame,
        stream=stream,
        seq=seq,
        pixels=pixels_of(frame.pixels, request),
        index=plane_index(frame.index) or PlaneIndex(),
        t_acq=None if frame.t_acq is None else posix_seconds(frame.t_acq),
        meta=meta(frame.meta),
    )


# --- single values


def field(message: str, name: str, value: Any) -> Any:
    """Return `value` as field `name` of a message.

    Raises
    ------
    ArgumentError
        When the field cannot have this value.
    """
    return _checked(name, value, HEADERS[message][name])


def integer(name: str, value: Integer, *, least: int = 0) -> int:
    """Return an integer from `least` to 2**53 - 1.

    Raises
    ------
    ArgumentError
    """
    number: int = _checked(name, value, HEADERS["ACK"]["next_result"])
    if number < least:
        refuse(name, f"an integer of at least {least}", value)
    return number


def boolean(name: str, value: Boolean) -> bool:
    """Return true or false.

    Raises
    ------
    ArgumentError
        When it is neither.
    """
    return bool(_checked(name, value, HEADERS["OPEN"]["maps"]))


def last_skipped(first: int, frames: int) -> int:
    """Return the last of `frames` numbers from `first` on.

    Raises
    ------
    ArgumentError
        When it is so large that limits would exceed the integers of DIM1.
    """
    last = first + frames - 1
    if last > MAX_INTEGER - MAX_WINDOW:
        refuse("frames", f"at most {MAX_INTEGER - MAX_WINDOW - first + 1}", frames)
    return last


def seconds(name: str, value: Number) -> float:
    """Return a time to wait in seconds: any number, also infinity; negative numbers become 0.

    Raises
    ------
    ArgumentError
        When it is not a number, or NaN.
    """
    try:
        number = float(value) if not isinstance(value, (str, bytes, bool)) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        refuse(name, "seconds, a number", value)
    return max(0.0, number)


def waiting_s(timeout_s: float) -> float:
    """Return `timeout_s`, or the longest timeout of a lock if that is shorter."""
    return min(timeout_s, threading.TIMEOUT_MAX)


def dtype_name(value: Any, name: str) -> str:
    """Return the name of a NumPy dtype, given in any form: "uint16", np.uint16, array.dtype.

    Raises
    ------
    ArgumentError
        wrong_dtype: when NumPy has no such type. The check of the field refuses types that streams cannot
        have.
    """
    if value is not None:  # numpy takes None for float64
        try:
            found = np.dtype(unwrapped(value))
        except (TypeError, ValueError, SyntaxError):  # numpy parses some texts
            pass
        else:
            return str(field("OPEN", name, found.name))
    expected = "uint16, float32" if name == "out_dtype" else ", ".join(DTYPES)
    raise ArgumentError(Code.WRONG_DTYPE, f"{name}: expected one of {expected}, got {short(value)}")


def plane_index(value: Index | None) -> PlaneIndex | None:
    """Return the index of a frame; axes that a mapping does not name are 0.

    Raises
    ------
    ArgumentError
        When it names an axis other than t, c, z, p, or a value that is not an integer from 0.
    """
    if value is None:
        return None
    if isinstance(value, PlaneIndex):
        value = plain_figures(value)
    if not isinstance(value, Mapping):
        refuse("index", "a PlaneIndex, or a mapping with t, c, z, p", value)
    places: dict[str, int] = {}
    for key, place in value.items():
        axis = _axis(key)
        if axis in places:
            refuse("index", f"axis {axis} once", dict(value))
        places[axis] = integer(f"index {axis}", place)
    return PlaneIndex(**places)


def _axis(key: Any) -> str:
    name = unwrapped(key)
    axis = name.lower() if isinstance(name, str) else ""
    if axis not in _AXES:
        raise ArgumentError(
            Code.BAD_FIELD,
            f"index: expected the axes t, c, z, p, got {short(name)}; frames that differ in another axis "
            "(a grid, an angle) need different values of p",
        )
    return axis


def posix_seconds(value: AcquisitionTime) -> float:
    """Return a time as seconds since 1970-01-01 UTC.

    A datetime without a time zone is local time, as in Python, but a pandas Timestamp is UTC.
    numpy.datetime64 is UTC.

    Raises
    ------
    ArgumentError
        When it is not a time, or not finite.
    """
    time: Any = unwrapped(value)
    try:
        if isinstance(time, np.datetime64):
            time = math.nan if np.isnat(time) else (time - np.datetime64(0, "s")) / np.timedelta64(1, "s")
        elif isinstance(time, datetime.datetime):
            time = time.timestamp()
    except (ValueError, OverflowError, OSError, TypeError):  # outside the range of the system's clock
        time = math.nan
    if isinstance(time, float) and not math.isfinite(time):
        refuse("t_acq", "a finite number of seconds, or a datetime", value)
    return float(field("FRAME", "t_acq", time))


def meta(value: Mapping[Any, Any] | None) -> dict[str, Any]:
    """Return the metadata of a frame as JSON types.

    Raises
    ------
    ArgumentError
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        refuse("meta", "a mapping", value)
    found: dict[str, Any] = plain("meta", value)
    return found


def new_thresholds(value: Thresholds | Mapping[str, Number] | None) -> Mapping[str, float] | None:
    """Return the thresholds of an UPDATE: those of a mapping, or all of an object that are not None.

    Raises
    ------
    ArgumentError
    """
    if isinstance(value, Thresholds):
        value = plain_figures(value)
    changes: Mapping[str, float] | None = None if value is None else field("UPDATE", "thresholds", value)
    return changes


def pixels_of(pixels: Any, request: Open) -> npt.NDArray[Any]:
    """Return a frame of the stream as an array (H, W).

    Raises
    ------
    FrameError
        wrong_shape or wrong_dtype; also for masked pixels, which cannot be sent.
    """
    array = image(pixels)
    if array.shape != request.shape:
        raise FrameError(
            Code.WRONG_SHAPE,
            f"frame of shape {array.shape}, the stream was opened for {request.shape}; open another stream",
        )
    if array.dtype.name != request.dtype:
        raise FrameError(
            Code.WRONG_DTYPE,
            f"frame of {array.dtype}, the stream was opened for {request.dtype}; convert it",
        )
    return array


def image(pixels: Any) -> npt.NDArray[Any]:
    """Return a frame as an array (H, W) of detector values of any type; an array is not copied.

    Raises
    ------
    FrameError
        When it is not an image, or has masked pixels.
    """
    if isinstance(pixels, np.ma.MaskedArray) and np.ma.is_masked(pixels):
        raise FrameError(
            Code.BAD_FIELD, "the frame has masked pixels, which cannot be sent; fill them, or send its data"
        )
    try:
        return np.asarray(pixels)
    except (ValueError, TypeError) as error:
        raise FrameError(
            Code.WRONG_SHAPE, f"expected a frame as (H, W) array, got {type(pixels).__name__}: {error}"
        ) from None


def folder(name: str, value: Any) -> Path:
    """Return the path of a folder.

    Raises
    ------
    ArgumentError
        When it is not a path.
    """
    path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path or "\0" in path:
        refuse(name, "the path of a folder", value)
    return Path(path)


def callback(name: str, value: Any, *, optional: bool = True) -> Any:
    """Return a callable; also None if it is optional.

    Raises
    ------
    ArgumentError
    """
    if not callable(value) and not (optional and value is None):
        refuse(name, "a callable, or None" if optional else "a callable", value)
    return value


def _checked(name: str, value: Any, check: Callable[[Any], Any]) -> Any:
    try:
        return check(plain(name, value))
    except Refused as refusal:
        refuse(name, str(refusal), value, refusal.code)
