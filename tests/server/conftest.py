"""Tiny real networks in bundles: what the fused graph and the engine are tested with."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dimstream_models.bundle import (
    Bundle,
    Clip,
    DimstreamConfig,
    EnsureDtype,
    ErrorBar,
    ErrorBarRecord,
    ScaleLinear,
    SsimSettings,
    Thresholds,
    apply_steps,
)

BundleMaker = Callable[..., Bundle]
MARKED = 999.0  # the frame's maximum that makes "nan" give NaN and "raising" raise


def _constant(name: str, value: Any, dtype: type) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def _identity() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    return [helper.make_node("Identity", ["x"], ["y"], doc_string="File /secret/train.py, line 3")], []


def _blur() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Divide by the frame's maximum, then a 3x3 convolution, as the paper's network normalises inside."""
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32)[None, None] / 16
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Max", ["largest", "one"], ["divisor"]),
        helper.make_node("Div", ["x", "divisor"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "kernel"], ["y"], pads=[1, 1, 1, 1]),
    ]
    return nodes, [_constant("kernel", kernel, np.float32), _constant("one", 1, np.float32)]


def _nan() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """0 / 0 in the pixels that hold the mark."""
    nodes = [
        helper.make_node("Sub", ["x", "mark"], ["zero_there"]),
        helper.make_node("Div", ["zero_there", "zero_there"], ["one"]),
        helper.make_node("Mul", ["x", "one"], ["y"]),
    ]
    return nodes, [_constant("mark", MARKED, np.float32)]


def _raising() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Gather out of its bounds when the frame's maximum reaches the mark."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("GreaterOrEqual", ["largest", "mark"], ["marked"]),
        helper.make_node("Cast", ["marked"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["zeros", "place"], ["zero"]),
        helper.make_node("Add", ["x", "zero"], ["y"]),
    ]
    return nodes, [_constant("zeros", [0.0], np.float32), _constant("mark", MARKED, np.float32)]


def _halving() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Half as many pixels a side: not what a denoiser does."""
    return [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2])], []


def _flipping() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The frame upside down: what it draws is sharp, repeats itself, and lies where nothing is."""
    ends = {"first": [-1], "last": [-(2**31)], "axis": [2], "step": [-1]}
    weights = [_constant(name, value, np.int64) for name, value in ends.items()]
    return [helper.make_node("Slice", ["x", *ends], ["y"])], weights


NETWORKS = {
    "halving": _halving,
    "identity": _identity,
    "blur": _blur,
    "nan": _nan,
    "raising": _raising,
    "flipping": _flipping,
}


def make_network(kind: str, *, opset: int = 17, axes: str = "bcyx", ir_version: int = 8) -> bytes:
    """ONNX bytes of one of `NETWORKS`, its names those that the bracket might use, full of stray texts."""
    nodes, weights = NETWORKS[kind]()
    single = {"c": 1}
    info = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [single.get(axis, name + axis) for axis in axes]
        )
        for name in "xy"
    ]
    graph = helper.make_graph(nodes, "main", info[:1], info[1:], weights, doc_string="/secret/graph.py")
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=ir_version,
        doc_string="/secret/model.py",
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = "pkg.torch.stack_trace", "File /secret/deep.py, line 7"
    return model.SerializeToString()


def make_error_bar(*, opset: int = 17, inputs: int = 2) -> ErrorBar:
    """A network of error bars that anyone can follow: the root of the counts, and the prediction's tenth."""
    names = ["counts", "prediction"][:inputs]
    nodes = [
        helper.make_node("Sqrt", [names[0]], ["root"]),
        helper.make_node("Mul", [names[-1], "tenth"], ["part"]),
        helper.make_node("Add", ["root", "part"], ["sd"]),
    ]
    shape = ["b", 1, "y", "x"]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (*names, "sd")]
    graph = helper.make_graph(
        nodes, "main", infos[:-1], infos[-1:], [_constant("tenth", 0.1, np.float32)], doc_string="/secret/sd"
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    record = ErrorBarRecord(
        source="error_bar.onnx",
        test_output="error_bar_test.npy",
        step=16,
        method="made up",
        photons_per_count=1.0,
        seed=0,
    )
    return ErrorBar(record, model.SerializeToString(), np.zeros((1, 1, 16, 16), np.float32))


@pytest.fixture(scope="session")
def tiny_error_bar() -> Callable[..., ErrorBar]:
    """Maker of error bars, for `tiny_bundle(…, error_bar=…)`: sqrt(counts) + prediction / 10."""
    return make_error_bar


@pytest.fixture(scope="session")
def tiny_bundle() -> BundleMaker:
    """Maker of bundles: `tiny_bundle("blur", id=…, ssim=…, threshold=…, opset=…, any field of Bundle)`."""
    return make_bundle


def make_bundle(
    kind: str = "blur",
    *,
    ssim: SsimSettings | None = None,
    threshold: float | None = 0.6,
    split: float | None = None,
    opset: int = 17,
    ir_version: int = 8,
    **fields: Any,
) -> Bundle:
    axes = fields.pop("axes", "bcyx")
    network = fields.pop("onnx", None) or make_network(kind, opset=opset, axes=axes, ir_version=ir_version)
    settings = ssim or SsimSettings(normalisation="mean_absolute_deviation", data_range=8.0, window=7)
    # structure: noise is what most of these tests send
    thresholds = Thresholds(
        ssim=threshold, background_max=5, signal_min=25, window_px=10, structure_score=-1e6, split=split
    )
    config = DimstreamConfig.model_construct(
        ssim=settings, thresholds=thresholds
    )  # no calibration record here
    steps = fields.pop("postprocessing", (ScaleLinear(3.0, 1.0), Clip(0.0, 60000.0)))
    values: dict[str, Any] = {
        "id": kind,
        "name": kind,
        "description": f"tiny {kind}",
        "source": Path(kind),
        "sha256": hashlib.sha256(network).hexdigest(),
        "onnx": network,
        "input_axes": axes,
        "output_axes": axes,
        "step": 8,
        "min_side": 8,
        "preprocessing": (EnsureDtype("float32"),),
        "postprocessing": steps,
        "config": config,
        "test_input": np.zeros([16 if axis in "yx" else 1 for axis in axes], np.float32),
        "documentation": "",
    }
    values["test_output"] = apply_steps(steps, values["test_input"])
    return Bundle(**{**values, **fields})
