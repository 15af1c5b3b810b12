"""Stacks in request bodies: TIFF, which `dimstream_client.tiff` reads, NPY, and either in a form."""

import io
import logging
import math
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from dimstream_client.messages import PlaneIndex
from dimstream_client.tiff import Stack, open_stack
from dimstream_client.tiff_metadata import Scale
from dimstream_models.npy import read_header
from dimstream_server.endpoints.problems import DoorRefusal
from dimstream_server.errors import NotFinite, WrongDtype

TIFF, NPY = "image/tiff", "application/x-npy"
FORM = "multipart/form-data"
FORM_FIELD = "file"
FORM_BLOCK_BYTES = 65_536
FORM_PARTS = 8  # that are collected before the form is given up
FORM_HEADER_BYTES = 8_192
BODY_TYPES = (TIFF, NPY, "application/octet-stream", FORM)
DTYPES = ("uint8", "uint16", "float32")
_CASTS = {"int16": "uint16", "float64": "float32"}
_AXES_OF_NDIM = {2: "YX", 3: "TYX", 4: "TZYX", 5: "TZCYX"}
_TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SILENT = logging.Logger("form", logging.CRITICAL)  # the parser warns of each byte; the refusal says it once
_NPY_MAGIC = b"\x93NUMPY"


class ReadableStack(Protocol):
    """Frames of counts with named axes: a `dimstream_client.tiff.Stack` or an `ArrayStack`."""

    @property
    def axes(self) -> str:
        """One letter for each axis, ending in ``YX``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> str:
        """Of the frames that `read` returns."""

    @property
    def scale(self) -> Scale:
        """What a step along the axes means."""

    def __len__(self) -> int: ...

    def index(self, n: int) -> PlaneIndex:
        """Where frame `n` belongs."""

    def read(self, n: int) -> NDArray[Any]:
        """Frame `n`, (H, W)."""

    def close(self) -> None:
        """Let go of the bytes."""


class ArrayStack:
    """A stack that lies in memory.

    Parameters
    ----------
    array : ndarray
        Of the axes' shape.
    axes : str
    """

    def __init__(self, array: NDArray[Any], axes: str) -> None:
        self.axes = axes
        self.shape = array.shape
        self.dtype = _CASTS.get(array.dtype.name, array.dtype.name)
        self.scale = Scale()
        self._frames = array.reshape(-1, *array.shape[-2:])  # (N, H, W)

    def __len__(self) -> int:
        return len(self._frames)

    def index(self, n: int) -> PlaneIndex:
        """Where frame `n` belongs."""
        places = np.unravel_index(n, self.shape[:-2]) if len(self.shape) > 2 else ()
        return PlaneIndex(**{axis.lower(): int(at) for axis, at in zip(self.axes[:-2], places, strict=True)})

    def read(self, n: int) -> NDArray[Any]:
        """Frame `n`, (H, W) of `dtype`.

        Raises
        ------
        WrongDtype
            The cast from int16 or float64 would change its counts.
        """
        frame = self._frames[n]
        if frame.dtype.kind == "i" and frame.min() < 0:
            raise WrongDtype(f"frame {n} holds {frame.min()}, expected photon counts of at least 0")
        with np.errstate(over="ignore"):
            counts: NDArray[Any] = np.ascontiguousarray(frame, dtype=self.dtype)
        if frame.dtype == np.float64 and not np.isfinite(counts).all():
            raise NotFinite(f"frame {n} holds NaN, infinity or values beyond float32")
        return counts

    def close(self) -> None:
        """Let go of the array."""
        del self._frames


def open_body(
    body: bytes | bytearray,
    content_type: str,
    *,
    axes: str | None,
    max_bytes: int,
    max_frame_bytes: int,
    frame_interval_s: float | None = None,
) -> ReadableStack:
    """The stack that a request body holds.

    Parameters
    ----------
    content_type : str
        Decides between a form and a bare file; which kind of file it is, its first bytes tell.
    axes : str, optional
        Overrules what the file says.
    max_bytes, max_frame_bytes : int
        Largest stack and frame, unpacked, checked before memory is taken.
    frame_interval_s : float, optional
        Overrules what the file says.

    Raises
    ------
    DoorRefusal, WrongDtype, dimstream_client.errors.TiffError
    """
    kind, options = parse_options_header(content_type)
    media_type = kind.decode("latin-1").lower()
    if media_type == FORM:
        body = form_file(body, options.get(b"boundary", b""))
    magic = bytes(body[:6])
    if magic.startswith(_TIFF_MAGICS):
        stack: ReadableStack = _timed(
            open_stack(io.BytesIO(body), max_bytes=max_bytes, axes=axes), frame_interval_s
        )
    elif magic == _NPY_MAGIC:
        array = read_npy(body, axes=axes, max_bytes=max_bytes)
        array.scale = Scale(frame_interval_s=frame_interval_s)
        stack = array
    else:
        raise _not_an_image(media_type, len(body))
    frame_bytes = stack.shape[-2] * stack.shape[-1] * np.dtype(stack.dtype).itemsize
    if frame_bytes > max_frame_bytes:
        stack.close()
        raise DoorRefusal(
            "oversize", f"expected frames of at most {max_frame_bytes} bytes, the file has {frame_bytes}"
        )
    return stack


def _timed(stack: Stack, frame_interval_s: float | None) -> Stack:
    if frame_interval_s is None:
        return stack
    return replace(stack, scale=replace(stack.scale, frame_interval_s=frame_interval_s))


def _not_an_image(media_type: str, nbytes: int) -> DoorRefusal:
    if nbytes == 0:
        return DoorRefusal("bad_image", "the body is empty, expected a TIFF or NPY file")
    what = "expected a TIFF or NPY file, as its first bytes tell"
    if not media_type or media_type in BODY_TYPES or media_type == "application/x-www-form-urlencoded":
        return DoorRefusal("bad_image", f"{what}; the {nbytes} bytes that came are neither")
    return DoorRefusal(
        "unsupported_media_type",
        f"{what}, got {media_type}; send one of {', '.join(BODY_TYPES)}",
        headers={"Accept": ", ".join(BODY_TYPES)},
    )


def read_npy(body: bytes | bytearray, *, axes: str | None, max_bytes: int) -> ArrayStack:
    """The stack in an NPY file; its pixels are a view of `body`.

    Raises
    ------
    DoorRefusal
        bad_image: no NPY, pickled objects, cut short, axes that do not fit; oversize.
    WrongDtype
    """
    start = io.BytesIO(body[:65536])
    try:
        shape, fortran_order, dtype = read_header(start)
    except ValueError as error:
        raise DoorRefusal("bad_image", f"the NPY header cannot be read: {str(error)[:200]}") from error
    if dtype.name not in (*DTYPES, *_CASTS):
        raise WrongDtype(
            f"the array is {dtype!s:.100}, expected counts as {', '.join(DTYPES)}; "
            "convert it with .astype(...)"
        )
    axes = _npy_axes(axes, shape)
    declared = math.prod(shape) * dtype.itemsize
    if declared > max_bytes:
        raise DoorRefusal(
            "oversize", f"the NPY file declares {declared} bytes, at most {max_bytes} are taken"
        )
    data = memoryview(body)[start.tell() :]
    if declared == 0 or len(data) != declared:
        raise DoorRefusal(
            "bad_image",
            f"the NPY file declares {declared} bytes of pixels (shape {shape}, {dtype}) and holds "
            f"{len(data)}; expected as many as it declares, and at least one pixel",
        )
    flat = np.frombuffer(data, dtype=dtype)
    return ArrayStack(flat.reshape(shape, order="F" if fortran_order else "C"), axes)


def _npy_axes(axes: str | None, shape: tuple[int, ...]) -> str:
    named = _AXES_OF_NDIM.get(len(shape)) if axes is None else axes.upper()
    known = named is not None and len(named) == len(shape) == len(set(named))
    if named is None or not known or named[-2:] != "YX" or not set(named[:-2]) <= set("PTCZ"):
        said = "" if axes is None else f" with axes={axes}"
        raise DoorRefusal(
            "bad_image",
            f"expected an array of 2 to 5 axes, YX the last, got shape {shape!s:.100}{said}; "
            "name them by ?axes=",
        )
    return named


def form_file(body: bytes | bytearray, boundary: bytes) -> bytearray:
    """The part `file` of a multipart form.

    Raises
    ------
    DoorRefusal
        bad_multipart: it is cut short, or has not exactly one part of that name.
    """
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.logger = _SILENT
        for start in range(0, len(body), FORM_BLOCK_BYTES):  # not all at once: each write takes a copy
            parser.write(bytes(body[start : start + FORM_BLOCK_BYTES]))
        parser.finalize()
    except FormParserError as error:
        raise DoorRefusal("bad_multipart", f"the form cannot be read: {str(error)[:200]}") from error
    if not form.ended:
        raise DoorRefusal("bad_multipart", "the form is cut short: its closing boundary is missing")
    names = [name for name, _ in form.parts]
    if names != [FORM_FIELD]:
        raise DoorRefusal("bad_multipart", f"expected one part, named {FORM_FIELD!r}, got {names[:8]}")
    return form.parts[0][1]


def _too_much(came: str) -> DoorRefusal:
    return DoorRefusal("bad_multipart", f"expected one part, named {FORM_FIELD!r}, got {came}")


class _Form:
    """Collects the parts of a form."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, bytearray]] = []
        self.ended = False
        self._header = [b"", b""]
        self._name = ""
        self._data = bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": lambda: self.parts.append((self._name, self._data)),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) > FORM_PARTS:
            raise _too_much(f"more than {FORM_PARTS} parts")
        self._name, self._data = "", bytearray()

    def _add(self, place: int, data: bytes) -> None:
        self._header[place] += data
        if len(self._header[place]) > FORM_HEADER_BYTES:
            raise _too_much(f"a header of more than {FORM_HEADER_BYTES} bytes")

    def _end_header(self) -> None:
        field, value = self._header
        if field.lower() == b"content-disposition":
            self._name = parse_options_header(value)[1].get(b"name", b"").decode("utf-8", "replace")
        self._header = [b"", b""]

    def _end(self) -> None:
        self.ended = True
