"""A fused graph cut around its network, for runtimes that run networks only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import onnx

from dimstream_server.pipeline.fused_graph import NETWORK


class SplitGraph(NamedTuple):
    """The parts of a fused graph.

    Parameters
    ----------
    enter, leave : onnx.ModelProto
        From `frame` to the network's input; and from all inputs and the network's output to all outputs.
    network : bytes
        ONNX file.
    source, target : str
        The network's input and output.
    """

    enter: onnx.ModelProto
    network: bytes
    leave: onnx.ModelProto
    source: str
    target: str


def split_network(model: onnx.ModelProto) -> SplitGraph | None:
    """Parts of a graph of `fused_graph`, which tells the network's ends; None of a graph without network."""
    ends = [value for value in model.graph.value_info if value.name.startswith(NETWORK)]
    if not ends:
        return None
    source, target = ends
    inside = [node for node in model.graph.node if _is_inside(node, source.name)]
    outside = [node for node in model.graph.node if not _is_inside(node, source.name)]
    graph = model.graph
    frame = [value for value in graph.input if value.name == "frame"]
    return SplitGraph(
        enter=_part(model, _needed(outside, source.name), frame, [source]),
        network=_part(model, inside, [source], [target]).SerializeToString(),
        leave=_part(model, outside, [*graph.input, target], graph.output),
        source=source.name,
        target=target.name,
    )


def _is_inside(node: onnx.NodeProto, source: str) -> bool:
    return any(name.startswith(NETWORK) and name != source for name in node.output)


def _needed(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes that an output rests on, in their order."""
    wanted, found = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted.update(_names_read(node))
            found.append(node)
    return found[::-1]


def _part(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    used = {name for node in nodes for name in _names_read(node)}
    part = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    part.opset_import.extend(model.opset_import)
    part.functions.extend(model.functions)
    part.graph.name = model.graph.name
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(one for one in model.graph.initializer if one.name in used)
    part.graph.input.extend(inputs)
    part.graph.output.extend(outputs)
    return part


def _names_read(node: onnx.NodeProto) -> Iterable[str]:
    """Names that a node reads, those within its subgraphs included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _names_read(inner)
