"""An inference request as it came: its JSON, its binary data, and what they ask for."""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
from pydantic import ValidationError

from dimstream_server.endpoints.http.open_inference.bodies import InferRequestBody, InputTensor
from dimstream_server.endpoints.http.open_inference.outputs import DENOISED, FIGURES, IMAGES
from dimstream_server.endpoints.http.open_inference.tensors import dtype_of, size_of, values_in_json
from dimstream_server.endpoints.http.request_images import ImageChoice
from dimstream_server.problem_details import RequestRefused

FRAME: Final = "frame"
LENGTH_HEADER: Final = "inference-header-content-length"
MAX_JSON_BYTES: Final = 8 * 1_048_576
"""Of a request; a number takes up to ten times as much memory as it has digits in JSON."""
MAX_BRACKETS: Final = 16_384
MAX_FRAMES: Final = 65_536
_BEHIND: Final = {
    "sequence_id": "send the frames of a movie in one request, shape (N, H, W), or as a stream by DIM1",
    "sequence_start": "send the frames of a movie in one request, shape (N, H, W), or as a stream by DIM1",
    "sequence_end": "send the frames of a movie in one request, shape (N, H, W), or as a stream by DIM1",
    "timeout": "an accepted request is answered; leave it out, and end the connection to give up",
    "classification": "outputs are no classes here; leave it out",
    **dict.fromkeys(
        ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"),
        "shared memory is not offered; send the values in the body",
    ),
}
"""What to do instead of what other servers of the protocol take."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for.

    Parameters
    ----------
    npy : bytearray
        Its frames as an NPY file.
    shape : tuple of int
        (H, W) or (N, H, W).
    outputs : mapping of str to bool
        Names that are wanted, in that order, and whether each is sent after the JSON.
    """

    body: InferRequestBody
    npy: bytearray
    shape: tuple[int, ...]
    outputs: Mapping[str, bool]

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return math.prod(self.shape[:-2])

    @property
    def choice(self) -> ImageChoice:
        """What is said of the frames."""
        parameters = self.body.parameters
        return ImageChoice(
            axes=parameters.axes[-len(self.shape) :],
            below_zero=parameters.below_zero,
            pixel_size_um=parameters.pixel_size_um,
            frame_interval_s=parameters.frame_interval_s,
        )


def read_request(body: bytearray, header_length: str | None) -> Asked:
    """What a body asks for; the body is used up.

    Parameters
    ----------
    header_length : str or None
        The header `LENGTH_HEADER`: bytes of JSON before the binary data; None: all of the body is JSON.

    Raises
    ------
    RequestRefused
        bad_request, bad_field, bad_header, oversize, wrong_shape, wrong_dtype, wrong_size
    """
    length = _json_length(header_length, len(body))
    asked = _validated(_json(bytes(memoryview(body)[:length])))
    tensor = _frame_of(asked)
    shape = _shape_of(tensor)
    head = _npy_head(tensor)
    if tensor.parameters.binary_data_size is None:
        _check_binary(0, len(body) - length, tensor.name)
        npy = bytearray(head)
        npy += values_in_json(tensor).tobytes()
    else:
        if tensor.data is not None:
            raise RequestRefused("bad_field", f"expected binary_data_size or data of {FRAME}, got both")
        _check_binary(tensor.parameters.binary_data_size, len(body) - length, tensor.name)
        _check_binary(size_of(tensor), len(body) - length, tensor.name)
        body[:length] = head
        npy = body
    return Asked(asked, npy, shape, _wanted(asked))


def _json_length(header_length: str | None, size: int) -> int:
    if header_length is None:
        length = size
    elif header_length.isascii() and header_length.isdigit() and 0 < int(header_length[:20]) <= size:
        length = int(header_length)
    else:
        raise RequestRefused(
            "bad_request",
            "expected Inference-Header-Content-Length to be the number of bytes of JSON with which the body "
            f"of {size} bytes begins, got {header_length[:40]!r}; without JSON the shape is not known",
        )
    if length > MAX_JSON_BYTES:
        raise RequestRefused(
            "oversize",
            f"expected JSON of at most {MAX_JSON_BYTES} bytes, got {length}; send frames as binary data",
        )
    return length


def _json(text: bytes) -> Any:
    if text.count(b"[") + text.count(b"{") > MAX_BRACKETS:
        raise RequestRefused(
            "bad_header", f"expected at most {MAX_BRACKETS} lists in the JSON, got more; send `data` flat"
        )
    try:
        return json.loads(
            text.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_without_repetition
        )
    except (ValueError, RecursionError) as error:
        what = "lists in lists without end" if isinstance(error, RecursionError) else f"{error!s:.200}"
        raise RequestRefused("bad_header", f"expected a JSON object in UTF-8: {what}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON; counts are finite")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member appears twice in one object")
    return found


def _validated(value: Any) -> InferRequestBody:
    try:
        return InferRequestBody.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][-1]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            advice = _BEHIND.get(name, "it is not known here; leave it out (docs/open-inference.md)")
        else:
            advice = f"{first['msg']}, got {first.get('input')!r:.100}"
        where = ".".join(map(str, first["loc"])) or "the body"
        raise RequestRefused("bad_field", f"{where:.200}: {advice}") from None


def _frame_of(asked: InferRequestBody) -> InputTensor:
    names = [one.name for one in asked.inputs]
    if names != [FRAME]:
        raise RequestRefused(
            "bad_field",
            f"expected one input, {FRAME!r}, got {len(names)}: {', '.join(names[:8])!r:.200}; several frames "
            "go into one input of shape (N, H, W)",
        )
    return asked.inputs[0]


def _shape_of(tensor: InputTensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if len(shape) not in (2, 3):
        raise RequestRefused("wrong_shape", f"expected {FRAME} of shape (H, W) or (N, H, W), got {shape}")
    if math.prod(shape[:-2]) > MAX_FRAMES:
        raise RequestRefused(
            "oversize", f"expected at most {MAX_FRAMES} frames in a request, got {shape[0]}; send several"
        )
    return shape


def _check_binary(expected: int, there: int, name: str) -> None:
    if expected != there:
        raise RequestRefused(
            "wrong_size",
            f"expected {expected} bytes of binary data for {name}, by its shape, datatype and "
            f"binary_data_size, got {there} after the JSON",
        )


def _npy_head(tensor: InputTensor) -> bytes:
    head = io.BytesIO()
    description = np.lib.format.dtype_to_descr(dtype_of(tensor))
    np.lib.format.write_array_header_1_0(
        head, {"descr": description, "fortran_order": False, "shape": tuple(tensor.shape)}
    )
    return head.getvalue()


def _wanted(asked: InferRequestBody) -> dict[str, bool]:
    binary = asked.parameters.binary_data_output
    if asked.outputs is None:
        return dict.fromkeys((DENOISED, *FIGURES), binary)
    known = (*IMAGES, *FIGURES)
    wanted: dict[str, bool] = {}
    for one in asked.outputs:
        if one.name not in known or one.name in wanted:
            came = "it twice" if one.name in wanted else f"{one.name!r:.100}"
            raise RequestRefused("bad_field", f"expected outputs among {', '.join(known)}, got {came}")
        own = one.parameters.binary_data
        wanted[one.name] = binary if own is None else own
    return wanted
