"""A frame brought to the sides that a network takes, and its result brought back, as ONNX nodes."""

from __future__ import annotations

from dimstream_server.pipeline.onnx_nodes import Nodes


def edge_padded(nodes: Nodes, values: str, step: int, min_side: int) -> str:
    """Frame whose last row and column are repeated to multiples of `step`, at least `min_side`."""
    sides = nodes.add("Shape", values)
    wanted = nodes.add("Max", sides, nodes.integers([min_side, min_side]))
    steps = nodes.add("Div", nodes.add("Add", wanted, nodes.integers([step - 1])), nodes.integers([step]))
    missing = nodes.add("Sub", nodes.add("Mul", steps, nodes.integers([step])), sides)
    reach = nodes.add("Concat", nodes.integers([0, 0]), missing, axis=0)
    return nodes.add("Pad", values, reach, mode="edge")


def cropped(nodes: Nodes, values: str, frame: str) -> str:
    """The first rows and columns of `values` (H', W'), as many as `frame` (H, W) has."""
    both = nodes.integers([0, 1])
    return nodes.add("Slice", values, nodes.integers([0, 0]), nodes.add("Shape", frame), both)
