"""How much arithmetic a network takes for a frame, and how much a device has at its best."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from dimstream_models.arithmetic import Array
from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.runner import open_network

GIGA: Final = 1e9
MULTIPLYING: Final = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def gflop_of(network: bytes, shape: tuple[int, ...]) -> float:
    """Multiplications and additions of a network's convolutions for one input of this shape, in 1e9.

    Parameters
    ----------
    network : bytes
        ONNX, with one input.

    Raises
    ------
    BenchmarkError
        Shapes inside cannot be known, or it multiplies by other nodes than convolutions.
    """
    graph = _with_shapes(onnx.load_model_from_string(network), shape).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    kernels = {one.name: list(one.dims) for one in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type not in MULTIPLYING:
            continue
        # each pixel of the smaller side meets the whole kernel
        pixels = shapes.get(node.output[0] if node.op_type == "Conv" else node.input[0], [0])[2:]
        kernel = kernels.get(node.input[1])
        if kernel is None or not pixels or 0 in pixels:
            raise BenchmarkError(f"the arithmetic of {node.op_type} {node.name!r} cannot be counted")
        total += 2 * math.prod(kernel) * math.prod(pixels)
    return total / GIGA


def matrix_product(device: Device, side: int) -> Callable[[], float]:
    """A product of two square matrices on a device, by what runs its networks; each call gives 1e9 flop/s.

    Raises
    ------
    dimstream_server.errors.StartError
    """
    rng = np.random.default_rng(0)
    left, right = (rng.normal(size=(side, side)).astype(np.float32) for _ in range(2))
    network = open_network(_product(right), device, name="a product of matrices")
    network(left)  # compiles it

    def run() -> float:
        started = time.perf_counter()
        network(left)
        return 2 * side**3 / (time.perf_counter() - started) / GIGA

    return run


def _product(right: Array) -> bytes:
    side = len(right)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "xy"]
    node = helper.make_node("MatMul", ["x", "right"], ["y"])
    graph = helper.make_graph(
        [node], "product", ends[:1], ends[1:], [numpy_helper.from_array(right, "right")]
    )
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


def _with_shapes(model: onnx.ModelProto, shape: tuple[int, ...]) -> onnx.ModelProto:
    for dim, side in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.Clear()
        dim.dim_value = side
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return shape_inference.infer_shapes(model, data_prop=True)
