"""The bundle's second network in the fused graph: from frame and prediction to standard deviations."""

from __future__ import annotations

from typing import Final

import onnx
from onnx import compose as onnx_compose
from onnx import version_converter

from dimstream_models.bundle import Bundle, scale_factor
from dimstream_server.errors import UnsupportedNetwork
from dimstream_server.pipeline.network_reading import opset_of, reading, strip
from dimstream_server.pipeline.onnx_nodes import Nodes
from dimstream_server.pipeline.padding_nodes import cropped, edge_padded

PREFIX: Final = "error_bar/"


def error_bar(nodes: Nodes, bundle: Bundle, frame: str, prediction: str, *, opset: int, to: str) -> None:
    """Add `to` (H, W) float32: the standard deviation of each denoised pixel, in denoised counts.

    Parameters
    ----------
    frame, prediction : str
        (H, W) float32: raw counts, and the network's output before rescaling.
    opset : int
        Of the graph that is being made.

    Raises
    ------
    UnsupportedNetwork
        The bundle has no error bar, or one that cannot be read or has other ends.
    """
    if bundle.error_bar is None:
        raise UnsupportedNetwork(f"{bundle.id} has no error bar")
    graph = _network(bundle, bundle.error_bar.onnx, opset).graph
    ends = nodes.integers([0, 1])
    step = bundle.error_bar.record.step
    for values, source in zip((frame, prediction), graph.input, strict=True):
        padded = edge_padded(nodes, values, step, step)
        nodes.add("Unsqueeze", padded, ends, to=source.name)
    nodes.take_over(graph)
    deviation = nodes.add("Squeeze", graph.output[0].name, ends)
    factor = nodes.number(scale_factor(bundle.postprocessing))
    nodes.add("Mul", cropped(nodes, deviation, frame), factor, to=to)


def _network(bundle: Bundle, content: bytes, opset: int) -> onnx.ModelProto:
    with reading(bundle):
        network = onnx.load_model_from_string(content)
        if opset_of(network) != opset:
            network = version_converter.convert_version(network, opset)
        strip(network)
        del network.graph.value_info[:]
        network = onnx_compose.add_prefix(network, PREFIX)
    ends = [*network.graph.input, *network.graph.output]
    floats = [one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for one in ends]
    if len(network.graph.input) != 2 or len(network.graph.output) != 1 or not all(floats):
        raise UnsupportedNetwork(
            f"{bundle.id}: expected a network of error bars with two inputs and one output of float32, got"
            f" {len(network.graph.input)} and {len(network.graph.output)}"
        )
    return network
