"""Images in request bodies: bare, or in a multipart form; `dimstream_client.files` reads them."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from dimstream_client.files import HEAD_BYTES, ImageStack, kind_of, open_images
from dimstream_server.problem_details import RequestRefused

TIFF, NPY = "image/tiff", "application/x-npy"
FORM = "multipart/form-data"
FORM_FIELD = "file"
FORM_BLOCK_BYTES = 65_536
FORM_PARTS = 8  # that are collected before the form is given up
FORM_HEADER_BYTES = 8_192
BODY_TYPES = (TIFF, NPY, "application/octet-stream", FORM)
_SILENT = logging.Logger("form", logging.CRITICAL)  # the parser warns of each byte; the refusal says it once


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """What a request says of its file: which image it means, and what overrules the file.

    Parameters
    ----------
    series : str or None
        Name or number of one image of several.
    incomplete : bool
        Whether to take what is there of a stack that declares other planes.
    below_zero : bool
        Whether values below zero are taken, since a detector's offset is subtracted.
    """

    axes: str | None = None
    series: str | None = None
    incomplete: bool = False
    below_zero: bool = False
    pixel_size_um: float | None = None
    z_step_um: float | None = None
    frame_interval_s: float | None = None


def open_body(
    body: bytes | bytearray,
    content_type: str,
    *,
    choice: ImageChoice,
    max_bytes: int,
    max_frame_bytes: int,
) -> ImageStack:
    """The stack that a request body holds; all of its frames can be read.

    Parameters
    ----------
    content_type : str
        Decides between a form and a bare file; which kind of file it is, its first bytes tell.
    max_bytes, max_frame_bytes : int
        Largest stack and frame, unpacked, checked before memory is taken.

    Raises
    ------
    RequestRefused, dimstream_client.errors.TiffError
    """
    kind, options = parse_options_header(content_type)
    media_type = kind.decode("latin-1").lower()
    if media_type == FORM:
        body = form_file(body, options.get(b"boundary", b""))
    if kind_of(bytes(body[:HEAD_BYTES])) is None:
        raise _not_an_image(media_type, len(body))
    stack = open_images(
        body,
        axes=choice.axes,
        series=choice.series,
        max_bytes=max_bytes,
        take_incomplete=choice.incomplete,
        below_zero=choice.below_zero,
        pixel_size_um=choice.pixel_size_um,
        z_step_um=choice.z_step_um,
        frame_interval_s=choice.frame_interval_s,
    )
    try:
        frame_bytes = stack.shape[-2] * stack.shape[-1] * np.dtype(stack.dtype).itemsize
        if frame_bytes > max_frame_bytes:
            raise RequestRefused(
                "oversize",
                f"expected frames of at most {max_frame_bytes} bytes, the file has {frame_bytes}",
            )
        stack.check()
    except BaseException:
        stack.close()
        raise
    return stack


def _not_an_image(media_type: str, nbytes: int) -> RequestRefused:
    if nbytes == 0:
        return RequestRefused("bad_image", "the body is empty, expected an image file, such as TIFF or NPY")
    what = "expected a TIFF, NPY, Imspector or grey PNG file, as its first bytes tell"
    if not media_type or media_type in BODY_TYPES or media_type == "application/x-www-form-urlencoded":
        return RequestRefused("bad_image", f"{what}; the {nbytes} bytes that came are none")
    return RequestRefused(
        "unsupported_media_type",
        f"{what}, got {media_type}; send one of {', '.join(BODY_TYPES)}",
        headers={"Accept": ", ".join(BODY_TYPES)},
    )


def form_file(body: bytes | bytearray, boundary: bytes) -> bytearray:
    """The part `file` of a multipart form.

    Raises
    ------
    RequestRefused
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
        raise RequestRefused("bad_multipart", f"the form cannot be read: {str(error)[:200]}") from error
    if not form.ended:
        raise RequestRefused("bad_multipart", "the form is cut short: its closing boundary is missing")
    names = [name for name, _ in form.parts]
    if names != [FORM_FIELD]:
        raise RequestRefused("bad_multipart", f"expected one part, named {FORM_FIELD!r}, got {names[:8]}")
    return form.parts[0][1]


def _too_much(came: str) -> RequestRefused:
    return RequestRefused("bad_multipart", f"expected one part, named {FORM_FIELD!r}, got {came}")


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
