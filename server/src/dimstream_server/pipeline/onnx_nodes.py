"""A list of ONNX nodes that grows by one call per node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PREFIX = "bracket/"
"""Of every name that is made here, so that none collides with the network's."""


class Nodes:
    """Nodes and constants in the order in which they run."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        """Name of the one output of a new node, which is `to` where given."""
        output = to or f"{PREFIX}{kind}_{len(self.nodes)}"
        self._append(kind, inputs, [output], attributes)
        return output

    def take_over(self, graph: onnx.GraphProto) -> None:
        """Add every node and constant of a graph whose inputs have been made here under their names."""
        self.nodes.extend(graph.node)
        self.constants.extend(graph.initializer)

    def split(self, tensor: str, count: int, *, axis: int) -> list[str]:
        """Names of `count` parts of length 1 along `axis`."""
        outputs = [f"{PREFIX}Split_{len(self.nodes)}_{part}" for part in range(count)]
        lengths = self.integers([1] * count)  # as an input: the attribute differs between opsets
        self._append("Split", (tensor, lengths), outputs, {"axis": axis})
        return outputs

    def integers(self, values: list[int]) -> str:
        """Name of a constant (n,) int64."""
        return self._constant(np.asarray(values, np.int64))

    def number(self, value: float) -> str:
        """Name of a constant float32 scalar."""
        return self._constant(np.asarray(value, np.float32))

    def whole(self, value: int) -> str:
        """Name of a constant int32 scalar."""
        return self._constant(np.asarray(value, np.int32))

    def tensor(self, values: np.ndarray[Any, Any]) -> str:
        """Name of a constant float32 tensor, (), (N,) or (O, I, H, W), without a unit."""
        return self._constant(values.astype(np.float32))

    def stack(self, *frames: str) -> str:
        """Name of (1, n, H, W): `frames` (H, W) as channels."""
        flat = self.integers([0, 1])
        return self.add("Concat", *(self.add("Unsqueeze", one, flat) for one in frames), axis=1)

    def mean(self, tensor: str, *, axis: int) -> str:
        """Name of the means of (1, 1, H, W) along one of the last two axes, which stays with length 1.

        By a matrix product: the operator's axes are an attribute in one opset and an input in another.
        """
        length = self.add("Gather", self.add("Shape", tensor), self.integers([axis]))  # (1,)
        share = self.add("Reciprocal", self.cast(length, "float32"))
        ones = [self.integers([1]), length] if axis == 2 else [length, self.integers([1])]
        weights = self.add("Expand", share, self.add("Concat", *ones, axis=0))
        return self.add("MatMul", weights, tensor) if axis == 2 else self.add("MatMul", tensor, weights)

    def cast(self, tensor: str, dtype: str, *, to: str | None = None) -> str:
        """Name of `tensor` as `dtype`, e.g. "float32"."""
        return self.cast_to(tensor, element_type(dtype), to=to)

    def cast_to(self, tensor: str, element: int, *, to: str | None = None) -> str:
        """Name of `tensor` as the type with ONNX's number `element`."""
        output = to or f"{PREFIX}Cast_{len(self.nodes)}"
        self._append("Cast", (tensor,), [output], {"to": element})
        return output

    def _append(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, Any]
    ) -> None:
        name = f"{PREFIX}{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=name, **attributes))

    def _constant(self, value: np.ndarray[Any, Any]) -> str:
        name = f"{PREFIX}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def element_type(dtype: str) -> int:
    """ONNX's number of a numpy type's name."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def frame_info(name: str, dtype: str) -> onnx.ValueInfoProto:
    """A graph input or output (H, W)."""
    return helper.make_tensor_value_info(name, element_type(dtype), ["H", "W"])


def float_info(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    """A graph input or output float32; [] is a scalar."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
