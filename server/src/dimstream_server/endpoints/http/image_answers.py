"""Denoised stacks and their maps in answers: OME-TIFF, NPY and PNG, as the Accept header asks."""

import io
import math
from collections.abc import Callable
from typing import Any, Protocol

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dimstream_client.files import ImageStack
from dimstream_client.files.stack_writer import writer_of
from dimstream_server.endpoints.http.request_images import NPY, TIFF
from dimstream_server.problem_details import RequestRefused

PNG, JSON = "image/png", "application/json"
ANSWER_TYPES = (TIFF, NPY, PNG, JSON)


class StackSink(Protocol):
    """Takes the denoised frames of a stack in order, and gives the bytes of a file."""

    def write(self, pixels: NDArray[Any]) -> None:
        """Append one frame, (H, W) photon counts."""

    def finish(self) -> memoryview | bytes:
        """The whole file."""


class TiffSink:
    """OME-TIFF with the axes and the scale of the stack that came."""

    def __init__(self, stack: ImageStack, dtype: str) -> None:
        self._file = io.BytesIO()
        # the one kind of 8-bit answers: docs/http-api.md
        self._writer = writer_of(stack, self._file, dtype=dtype, is_support=dtype == "uint8")

    def write(self, pixels: NDArray[Any]) -> None:
        """Append one frame, (H, W) photon counts."""
        self._writer.write(pixels)

    def finish(self) -> memoryview:
        """The whole file."""
        self._writer.close()
        return self._file.getbuffer()


class NpySink:
    """NPY of the shape that came."""

    def __init__(self, stack: ImageStack, dtype: str) -> None:
        header = io.BytesIO()
        description = np.lib.format.dtype_to_descr(np.dtype(dtype))
        np.lib.format.write_array_header_1_0(
            header, {"descr": description, "fortran_order": False, "shape": tuple(stack.shape)}
        )
        self._at = header.tell()
        size = self._at + math.prod(stack.shape) * np.dtype(dtype).itemsize
        self._file = np.empty(size, np.uint8)
        self._file[: self._at] = np.frombuffer(header.getbuffer(), np.uint8)

    def write(self, pixels: NDArray[Any]) -> None:
        """Append one frame, (H, W) photon counts."""
        frame = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        self._file[self._at : self._at + frame.size] = frame
        self._at += frame.size

    def finish(self) -> memoryview:
        """The whole file."""
        return self._file.data


class PngSink:
    """PNG, 8- or 16-bit grey, of a single frame."""

    def __init__(self, stack: ImageStack, dtype: str) -> None:
        if len(stack) != 1 or dtype not in ("uint8", "uint16"):
            raise RequestRefused(
                "not_acceptable",
                f"PNG holds one 8- or 16-bit grey frame, asked for {len(stack)} of {dtype}; "
                f"accept {TIFF} or {NPY} instead",
            )
        self._file = b""

    def write(self, pixels: NDArray[Any]) -> None:
        """Take the frame, (H, W) uint8 or uint16."""
        self._file = bytes(imagecodecs.png_encode(pixels))

    def finish(self) -> bytes:
        """The whole file."""
        return self._file


class NoSink:
    """Flags only."""

    def write(self, pixels: NDArray[Any]) -> None:
        """Never called: a stream that delivers no pixels has none."""
        raise AssertionError("a stream without pixels gave some")

    def finish(self) -> bytes:
        """Nothing."""
        return b""


_SINKS: dict[str, Callable[[ImageStack, str], StackSink]] = {TIFF: TiffSink, NPY: NpySink, PNG: PngSink}


def open_sink(media_type: str, stack: ImageStack, dtype: str) -> StackSink:
    """Where the denoised frames of this stack go.

    Raises
    ------
    RequestRefused
        not_acceptable: the stack does not fit into a file of this kind.
    """
    return NoSink() if media_type == JSON else _SINKS[media_type](stack, dtype)


def choose_media_type(accept: str) -> str:
    """The kind of answer that an ``Accept`` header prefers; TIFF where it does not care.

    Raises
    ------
    RequestRefused
        not_acceptable: it wants none that is written here.
    """
    ranges = [_parse_range(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    best, best_quality = "", 0.0
    for wanted, quality in ranges:
        matching = [offer for offer in ANSWER_TYPES if _matches(wanted, offer)]
        if matching and quality > best_quality:
            best, best_quality = matching[0], quality
    if not best:
        raise RequestRefused(
            "not_acceptable", f"expected an Accept of {', '.join(ANSWER_TYPES)}, got {accept[:200]!r}"
        )
    return best


def allows(accept: str, offer: str) -> bool:
    """Whether an ``Accept`` header allows this kind of answer: its most specific range decides."""
    matching = [one for one in map(_parse_range, accept.split(",")) if _matches(one[0], offer)]
    return not accept.strip() or (bool(matching) and min(matching, key=_wildcards)[1] > 0)


def _wildcards(one: tuple[str, float]) -> int:
    return one[0].count("*")


def _parse_range(part: str) -> tuple[str, float]:
    wanted, *parameters = (item.strip().lower() for item in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return wanted, float(parameter[2:])
            except ValueError:
                return wanted, 0.0
    return wanted, 1.0


def _matches(wanted: str, offer: str) -> bool:
    aliases = {"image/tif": TIFF, "application/npy": NPY, "application/octet-stream": NPY}
    wanted = aliases.get(wanted, wanted)
    return wanted in ("*/*", offer) or (wanted.endswith("/*") and offer.startswith(wanted[:-1]))
