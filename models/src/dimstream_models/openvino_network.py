"""A network in OpenVINO, in a given precision. It is compiled once for each shape of its input.

The server and the calibration run this code, so that a calibration holds for the server's predictions.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any, Final

import numpy as np

from dimstream_models.arithmetic import Array
from dimstream_models.precisions import Precision

# OpenVINO's import sends usage data unless this package, which pip installs with it, is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402  # after the line above

SHAPES: Final = 4
"""Most shapes for which a network is kept compiled; beyond that, the least recently used one is dropped."""

HINTS: Final[dict[Precision, str]] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
NATIVE: Final[dict[Precision, str]] = {"float32": "FP32", "bfloat16": "BF16", "float16": "FP16"}


class NetworkUnreadable(Exception):
    """OpenVINO cannot read a network."""


class PrecisionUnavailable(Exception):
    """OpenVINO does not offer the requested precision on this processor."""


class OpenVinoNetwork:
    """A network on the CPU; only one thread at a time may use it.

    Parameters
    ----------
    content : bytes
        The ONNX file.
    precision : str
        "float32", "bfloat16" or "float16".
    threads : int or None
        CPU threads of one run; None: one per core.

    Raises
    ------
    NetworkUnreadable
    """

    def __init__(
        self, content: bytes, *, precision: Precision = "float32", threads: int | None = None
    ) -> None:
        self._core = openvino.Core()
        self._hint = HINTS[precision]
        self._options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self._hint,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # otherwise two networks in one process would share a core
        }
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._compiled: OrderedDict[tuple[tuple[int, ...], ...], Any] = OrderedDict()
        try:
            self._model = self._core.read_model(content)
        except RuntimeError as error:
            raise NetworkUnreadable(what_it_says(error)) from error

    @property
    def shapes(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Shapes of its inputs for which it is compiled, in order of their last use."""
        return tuple(self._compiled)

    def __call__(self, *values: Array) -> Array:
        """Return its output for its inputs, in their order; the next call may overwrite it.

        Raises
        ------
        PrecisionUnavailable
        RuntimeError
            When OpenVINO fails.
        """
        try:
            request = self._request(tuple(value.shape for value in values))
            for place, value in enumerate(values):
                request.set_input_tensor(place, openvino.Tensor(np.ascontiguousarray(value), True))
            request.infer()
            output: Array = request.get_output_tensor(0).data
        except RuntimeError as error:
            raise RuntimeError(what_it_says(error)) from error
        return output

    def _request(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        request = self._compiled.get(shapes)
        if request is None:
            model = self._model.clone()
            model.reshape(dict(enumerate(map(list, shapes))))
            compiled = self._core.compile_model(model, "CPU", self._options)
            self._check_precision(compiled)
            request = self._compiled[shapes] = compiled.create_infer_request()
            if len(self._compiled) > SHAPES:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(shapes)
        return request

    def _check_precision(self, compiled: Any) -> None:
        """Check the precision, because OpenVINO silently uses float32 where a processor lacks one."""
        given = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if given != self._hint:
            raise PrecisionUnavailable(
                f"expected precision {self._hint}, but OpenVINO uses {given} on this processor"
            )


def is_native(precision: Precision) -> bool:
    """Whether this processor has instructions for a precision; otherwise it is emulated, slower than
    float32."""
    return NATIVE[precision] in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def processor() -> str:
    """OpenVINO's name of this processor."""
    return str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"))


def what_it_says(error: Exception) -> str:
    """Return the line of OpenVINO's message that describes the error, without paths of its build."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '", "While validating"))]
    return (told or lines or [type(error).__name__])[-1][:300]
