"""Without a card: every node of the graphs that are served has a CUDA kernel, so nothing falls back."""

from collections.abc import Iterator
from dataclasses import replace

import onnx
import pytest
from cuda_kernels import KERNELS, Kernel
from onnx import TensorProto, helper, shape_inference
from shipped import BUNDLE

from dimstream_models.bundle import Bundle, read_bundle
from dimstream_models.training.export.onnx_export import Denoiser, export_onnx, half_precision
from dimstream_models.training.network import UNetRCAN
from dimstream_models.training.normalisation import build_normaliser
from dimstream_models.training.settings import NormalisationSettings
from dimstream_server.pipeline.comparison_graph import compose_agreement, compose_alignment
from dimstream_server.pipeline.fused_graph import NETWORK, compose, compose_prediction

FOLDED = frozenset({"Constant"})
"""Become weights before any node is placed."""


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return read_bundle(BUNDLE)


@pytest.fixture(scope="module")
def published(shipped: Bundle) -> Bundle:
    """The published network's depth and kernels; how wide it is changes no operator and no type."""
    network = UNetRCAN(filters=(2, 4, 8), filters_cab=1, num_rg=3, num_cab=8, kernel=7).eval()
    content = export_onnx(
        Denoiser(network, build_normaliser(NormalisationSettings(kind="maximum", value=None)))
    )
    return replace(shipped, onnx=content, error_bar=None)


def _graphs(bundle: Bundle) -> Iterator[onnx.ModelProto]:
    """All that are made of a bundle; of one without error bars the one that shows what its network adds."""
    if bundle.error_bar is None:
        yield compose(bundle, "uint16", "uint16")
        return
    for in_dtype in ("uint8", "uint16", "float32"):
        for out_dtype in ("uint16", "float32"):
            yield compose(bundle, in_dtype, out_dtype, with_sd=True)
        yield compose_prediction(bundle, in_dtype)
    yield compose_agreement(bundle.ssim)
    yield compose_alignment(bundle.ssim)


def _types(model: onnx.ModelProto) -> dict[str, str]:
    graph = shape_inference.infer_shapes(model).graph
    values = [*graph.value_info, *graph.input, *graph.output]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    found |= {weight.name: weight.data_type for weight in graph.initializer}
    return {name: TensorProto.DataType.Name(kind).lower() for name, kind in found.items() if kind}


def _without_kernel(model: onnx.ModelProto) -> list[str]:
    types, (opset,) = _types(model), [one.version for one in model.opset_import if one.domain == ""]
    return [
        f"{node.op_type} {node.name}: {[types.get(name) for name in node.input]}"
        for node in model.graph.node
        if node.op_type not in FOLDED and not any(_fits(one, node, types, opset) for one in _rows(node))
    ]


def _rows(node: onnx.NodeProto) -> tuple[Kernel, ...]:
    return KERNELS.get(node.op_type, ())


def _fits(kernel: Kernel, node: onnx.NodeProto, types: dict[str, str], opset: int) -> bool:
    since = onnx.defs.get_schema(node.op_type, opset, "").since_version
    if not kernel.since <= since <= (kernel.until or since):
        return False
    sides = ((node.input, kernel.inputs), (node.output, kernel.outputs))
    return all(
        types[name] in allowed[min(place, len(allowed) - 1)]
        for names, allowed in sides
        for place, name in enumerate(names)
        if name
    )


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("name", ["shipped", "published"])
def test_every_node_has_a_kernel(name: str, half: bool, request: pytest.FixtureRequest) -> None:
    bundle = request.getfixturevalue(name)
    if half:
        bundle = replace(bundle, onnx=half_precision(bundle.onnx), error_bar=None)
    for model in _graphs(bundle):
        assert _without_kernel(model) == []


def test_a_node_without_a_kernel_is_found() -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT16, [2]) for name in "xy"]
    for operator in ("Floor", "Det"):
        graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", ends[:1], ends[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        assert len(_without_kernel(model)) == 1


@pytest.mark.slow
def test_a_float16_bundle_sums_compares_and_rescales_in_float32(shipped: Bundle) -> None:
    half = replace(shipped, onnx=half_precision(shipped.onnx), error_bar=None)
    model = compose(half, "uint16", "uint16")
    types = _types(model)
    inside = {
        node.name or node.output[0]: node for node in model.graph.node if node.output[0].startswith(NETWORK)
    }
    halves = [node for node in inside.values() if types[node.output[0]] == "float16"]
    assert len(halves) > len(inside) / 2
    for node in model.graph.node:
        if node.op_type in ("ReduceMean", "ReduceSum", "ReduceMax", "GlobalAveragePool", "AveragePool"):
            assert types[node.input[0]] == "float"
        if not node.output[0].startswith(NETWORK) and node.op_type != "Cast":
            assert "float16" not in {types.get(name) for name in node.input if name}
