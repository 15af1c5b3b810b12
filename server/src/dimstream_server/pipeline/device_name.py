"""A device: what runs networks, where, and in which precision it multiplies; one word in settings.

The word is ``[RUNTIME:]PLACE[@PRECISION]``: ``cpu``, ``cuda:0@tf32``, ``openvino:cpu``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from dimstream_models.precisions import LOWER, Precision
from dimstream_server.errors import DeviceUnavailable

Runtime = Literal["onnxruntime", "openvino"]

SUFFIXES: Final[dict[str, Precision]] = {"f32": "float32", **LOWER}
"""Precisions as they are written behind the @."""

POSSIBLE: Final[dict[str, tuple[Precision, ...]]] = {
    "cpu": ("float32",),
    "cuda:N": ("float32", "tf32"),
    "openvino:cpu": ("float32", "bfloat16", "float16"),
}
"""What can be asked for, and its precisions; the first is the default."""

_GRAMMAR: Final = re.compile(
    r"(?P<place>(?:openvino:)?cpu|cuda:(?P<cuda>0|[1-9]\d{0,3}))(?:@(?P<suffix>[a-z0-9]+))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Device:
    """Where networks run.

    Parameters
    ----------
    cuda : int or None
        Number of the CUDA device; None is the CPU.
    runtime : str
        What runs them: "onnxruntime", or "openvino", which runs networks only and leaves what surrounds them
        to ONNX Runtime on the same processor.
    precision : str
        What factors are rounded to before they are multiplied: "float32" leaves them as they are, "tf32" and
        "float16" keep 10 bits of fraction, "bfloat16" keeps 7.
    """

    cuda: int | None = None
    runtime: Runtime = "onnxruntime"
    precision: Precision = "float32"

    @property
    def place(self) -> str:
        """Where, without runtime and precision: "cpu" or "cuda:N"."""
        return "cpu" if self.cuda is None else f"cuda:{self.cuda}"

    @property
    def name(self) -> str:
        """The word that names it, as short as can be: "cpu", "cuda:0@tf32"."""
        runtime = "" if self.runtime == "onnxruntime" else f"{self.runtime}:"
        suffix = next(short for short, name in SUFFIXES.items() if name == self.precision)
        return f"{runtime}{self.place}" + ("" if self.precision == "float32" else f"@{suffix}")

    @property
    def bracket(self) -> Device:
        """Where what surrounds a network runs: always in float32 where it is another device."""
        return self if self.runtime == "onnxruntime" else Device(cuda=self.cuda)


def parse_device(text: str) -> Device:
    """Device of a setting.

    Raises
    ------
    DeviceUnavailable
        When it names no device, or one that does not multiply so.
    """
    found = _GRAMMAR.fullmatch(text)
    if found is None:
        raise DeviceUnavailable(f"a device is {possible()}, not {text[:100]!r}")
    number = found["cuda"]
    runtime: Runtime = "openvino" if found["place"].startswith("openvino") else "onnxruntime"
    device = Device(cuda=None if number is None else int(number), runtime=runtime)
    if found["suffix"] is None:
        return device
    kind = found["place"] if number is None else "cuda:N"
    precision = SUFFIXES.get(found["suffix"])
    if precision is None or precision not in POSSIBLE[kind]:
        raise DeviceUnavailable(
            f"{text[:100]!r} asks {device.name} for a precision that it lacks; a device is {possible()}"
        )
    return replace(device, precision=precision)


def possible() -> str:
    """All that can be asked for, as a message says it."""
    names = {precision: short for short, precision in SUFFIXES.items()}
    words = [
        kind if precision == "float32" else f"{kind}@{names[precision]}"
        for kind, precisions in POSSIBLE.items()
        for precision in precisions
    ]
    return f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}"
