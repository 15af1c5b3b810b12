"""How much memory a bundle's networks take for a frame, by the shapes in their graphs; nothing is run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import onnx
from onnx import shape_inference

from dimstream_models.bundle import Bundle
from dimstream_server.pipeline.network_reading import reading

SIDE: Final = 512
"""About: of the frame whose layers are added up, px. What a network keeps grows with the pixels."""
COPIES: Final = 2.4
"""ONNX Runtime's memory over that of the layers that must be there at once: it keeps some in two orders."""
BRACKET_BYTES: Final = 100
"""A pixel: the frame, its prediction, both compared, their levels and maps."""


def bytes_per_pixel(bundle: Bundle) -> float | None:
    """Memory that a frame takes while it is denoised, bytes for each of its pixels.

    Checked against measurements (docs/benchmarks.md): it is the most, not the mean.

    Returns
    -------
    float or None
        None where a layer's size cannot be told from the graph.

    Raises
    ------
    UnsupportedNetwork
        The network is no ONNX.
    """
    contents = [bundle.onnx] if bundle.error_bar is None else [bundle.onnx, bundle.error_bar.onnx]
    side = math.ceil(SIDE / bundle.step) * bundle.step
    with reading(bundle):
        peaks = [_peak(content, side) for content in contents]
    known = [peak for peak in peaks if peak is not None]
    return None if len(known) < len(peaks) else BRACKET_BYTES + COPIES * max(known) / side**2


def _peak(content: bytes, side: int) -> int | None:
    """Bytes of the layers that must be there at once for a frame of `side` times `side` px."""
    model = onnx.load_model_from_string(content)
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in weights:
            _fix_sides(value, side)
    del model.graph.value_info[:]  # inferred shapes, of other frame sizes
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return _most_at_once(shape_inference.infer_shapes(model, data_prop=True).graph)


def _fix_sides(value: onnx.ValueInfoProto, side: int) -> None:
    dims = value.type.tensor_type.shape.dim
    for place, dim in enumerate(dims):
        dim.dim_value = side if place >= len(dims) - 2 else 1


def _most_at_once(graph: onnx.GraphProto) -> int | None:
    sizes = _sizes(graph)
    made = [name for node in graph.node for name in node.output if name]
    if any(name not in sizes for name in made):
        return None
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    there = most = sum(sizes.get(value.name, 0) for value in graph.input)
    for node in graph.node:
        there += sum(sizes[name] for name in node.output if name)
        most = max(most, there)
        for name in node.input:
            uses[name] -= 1
            if not uses[name]:
                there -= sizes.get(name, 0)
    return most


def _sizes(graph: onnx.GraphProto) -> Mapping[str, int]:
    """Bytes of each tensor whose shape is known."""
    sizes = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        tensor: Any = value.type.tensor_type
        dims = [dim.dim_value for dim in tensor.shape.dim if dim.HasField("dim_value")]
        if tensor.HasField("shape") and len(dims) == len(tensor.shape.dim) and tensor.elem_type:
            sizes[value.name] = math.prod(dims) * _itemsize(tensor.elem_type)
    return sizes


def _itemsize(elem_type: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize)
