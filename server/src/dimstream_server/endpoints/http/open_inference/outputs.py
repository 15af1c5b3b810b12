"""What a model gives under the Open Inference Protocol: images, and the figures of every frame.

Figures are those that `dimstream_client.quality` declares: a new one is an output without a line here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_client.quality import FrameResult, figures, flat, flat_figures, parts_of, plain
from dimstream_server.engine.protocol import EngineResult, ModelInfo

DENOISED, SUPPORT, SD = "denoised", "support", "sd"
IMAGES: Final = (DENOISED, SUPPORT, SD)
_PREFIXES: Final = {"t_ms": "t_ms_"}  # other parts' figures have names of their own, as in flags.csv
_DATATYPES: Final = {
    **dict.fromkeys(("boolean", "count"), "INT64"),  # a boolean may be missing
    **dict.fromkeys(("duration", "fraction", "number", "shift", "similarity"), "FP32"),
    **dict.fromkeys(("flag", "status", "text", "texts"), "BYTES"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """An output with a value, or several, for each frame.

    Parameters
    ----------
    path : tuple of str
        The figure's part of `FrameResult`, where it is in one, and its name in that.
    shape : tuple of int
        Of one frame's value.
    """

    name: str
    datatype: str
    description: str
    shape: tuple[int, ...] = ()

    def values(self, found: Sequence[Any]) -> NDArray[Any]:
        """One value a frame, (N,) or (N, 2): NaN, -1 or an empty text where there is nothing to tell."""
        if self.datatype == "BYTES":
            return np.array([_text(value).encode() for value in found], object)
        missing, dtype = (-1, np.int64) if self.datatype == "INT64" else (np.nan, np.float32)
        absent = np.full(self.shape, missing)
        return np.array([absent if value is None else value for value in found], dtype)


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, (list, tuple)) else value or ""


def _declared() -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for top in figures(FrameResult):
        part = top.metadata["kind"]
        fields = flat_figures(part) if isinstance(part, type) else {top.name: top}
        for name, one in fields.items():
            named = f"{_PREFIXES.get(top.name, '')}{name}"
            kind = one.metadata["kind"]
            found[named] = Figure(
                named, _DATATYPES[kind], one.metadata["description"], (2,) if kind == "shift" else ()
            )
    return found


FIGURES: Final[Mapping[str, Figure]] = _declared()


def figures_of(results: Sequence[EngineResult]) -> dict[str, NDArray[Any]]:
    """An array (N,) or (N, 2) for each of `FIGURES`, in the order of the frames."""
    rows = [_row(result) for result in results]
    return {name: one.values([row[name] for row in rows]) for name, one in FIGURES.items()}


def _row(result: EngineResult) -> dict[str, Any]:
    found: dict[str, Any] = {}
    values = parts_of(result)
    for top in figures(FrameResult):
        part, value = top.metadata["kind"], values[top.name]
        inner = flat(part, plain(value)) if isinstance(part, type) else {top.name: value}
        found.update((f"{_PREFIXES.get(top.name, '')}{name}", one) for name, one in inner.items())
    return found


def image_datatype(name: str, out_dtype: str) -> str:
    """Datatype of an image among the outputs."""
    return {SUPPORT: "UINT8", SD: "FP32"}.get(name, {"uint16": "UINT16", "float32": "FP32"}[out_dtype])


def outputs_of(model: ModelInfo) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Datatype and shape of each output of a model, -1 for any length."""
    images = IMAGES if model.bundle.error_bar is not None else (DENOISED, SUPPORT)
    return {
        **{name: (image_datatype(name, "uint16"), (-1, -1, -1)) for name in images},
        **{one.name: (one.datatype, (-1, *one.shape)) for one in FIGURES.values()},
    }
