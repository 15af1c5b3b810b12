"""Frames through the engine, and their images and figures into one answer; in a worker thread."""

import json
import math
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from fastapi import Response
from numpy.typing import NDArray

from dimstream_server.endpoints.http.denoising import Denoiser
from dimstream_server.endpoints.http.frame_options import spec_of
from dimstream_server.endpoints.http.open_inference.compression import packed
from dimstream_server.endpoints.http.open_inference.infer_request import FRAME, Asked
from dimstream_server.endpoints.http.open_inference.outputs import (
    DENOISED,
    FIGURES,
    IMAGES,
    SD,
    SUPPORT,
    figures_of,
    image_datatype,
)
from dimstream_server.endpoints.http.open_inference.tensors import DTYPES, as_bytes, as_json
from dimstream_server.engine.protocol import EngineResult, ModelInfo
from dimstream_server.errors import FrameFailed
from dimstream_server.problem_details import RequestRefused

MAX_JSON_VALUES: Final = 2**20
"""Pixels of all images that are sent as JSON."""
_FIELDS: Final = {DENOISED: "pixels", SUPPORT: "support", SD: "sd"}


@dataclass(frozen=True, slots=True)
class Inference:
    """Answers requests by the engine.

    Parameters
    ----------
    max_answer_bytes : int
        Largest answer, before it is compressed.
    """

    denoiser: Denoiser
    max_answer_bytes: int

    def answer(
        self, asked: Asked, model: ModelInfo, gone: threading.Event, *, client: str, encoding: str
    ) -> Response:
        """The answer to a request; blocks until all of its frames are there.

        Raises
        ------
        Abandoned
            `gone` was set meanwhile.
        ServerError, dimstream_client.errors.DimstreamError
        """
        images = self._room(asked)
        results = []
        for n, result in enumerate(self._results(asked, model, gone, client)):
            for name, array in images.items():
                image = getattr(result, _FIELDS[name])
                if image is None:
                    raise FrameFailed(f"frame {result.seq} failed: {result.error}")
                array[n] = image
            results.append(replace(result, pixels=None, support=None, sd=None))
        arrays = {name: array.reshape(asked.shape) for name, array in images.items()}
        return _response(asked, model, {**figures_of(results), **arrays}, encoding)

    def _room(self, asked: Asked) -> dict[str, NDArray[Any]]:
        """Arrays (N, H, W) for the images that are wanted, once they are known to be within bounds."""
        names = [name for name in asked.outputs if name in IMAGES]
        pixels = math.prod(asked.shape)
        as_text = sum(not asked.outputs[name] for name in names) * pixels
        if as_text > MAX_JSON_VALUES:
            raise RequestRefused(
                "oversize",
                f"expected at most {MAX_JSON_VALUES} pixels in JSON, {', '.join(names)} of "
                f"{FRAME} have {as_text}; ask for them with binary_data",
            )
        out_dtype = asked.body.parameters.out_dtype
        dtypes = {name: np.dtype(DTYPES[image_datatype(name, out_dtype)]) for name in names}
        size = pixels * sum(dtype.itemsize for dtype in dtypes.values())
        if size > self.max_answer_bytes:
            raise RequestRefused(
                "oversize",
                f"expected an answer of at most {self.max_answer_bytes} bytes, {', '.join(names)} have "
                f"{size}; send fewer frames, or ask for fewer outputs",
            )
        frames = (asked.frames, *asked.shape[-2:])
        return {name: np.empty(frames, dtype) for name, dtype in dtypes.items()}

    def _results(
        self, asked: Asked, model: ModelInfo, gone: threading.Event, client: str
    ) -> Iterator[EngineResult]:
        stack = self.denoiser.open(asked.npy, "", asked.choice)
        with closing(stack):
            spec = spec_of(
                *(model.id, asked.body.parameters, stack),
                denoised=DENOISED in asked.outputs,
                support=SUPPORT in asked.outputs,
                sd=SD in asked.outputs,
            )
            for _, result in self.denoiser.results(stack, spec, gone, client=client):
                yield result


def _response(asked: Asked, model: ModelInfo, arrays: dict[str, NDArray[Any]], encoding: str) -> Response:
    outputs, parts = [], []
    for name, is_binary in asked.outputs.items():
        array = arrays[name]
        said: dict[str, Any] = {"name": name, "datatype": _datatype(name, asked), "shape": list(array.shape)}
        if is_binary:
            parts.append(as_bytes(array))
            said["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            said["data"] = as_json(array)
        outputs.append(said)
    head: dict[str, Any] = {"model_name": model.id, "model_version": model.sha256}
    if asked.body.id is not None:
        head["id"] = asked.body.id
    text = json.dumps({**head, "outputs": outputs}, allow_nan=False).encode()
    headers = {"Vary": "Accept-Encoding"}
    if parts:
        headers["Inference-Header-Content-Length"] = str(len(text))
    if encoding != "identity":
        headers["Content-Encoding"] = encoding
    return Response(
        packed(b"".join([text, *parts]), encoding),
        headers=headers,
        media_type="application/octet-stream" if parts else "application/json",
    )


def _datatype(name: str, asked: Asked) -> str:
    if name in FIGURES:
        return FIGURES[name].datatype
    return image_datatype(name, asked.body.parameters.out_dtype)
