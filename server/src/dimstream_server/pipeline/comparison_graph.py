"""Small graphs that compare predictions after they were made, on the device where these lie; no network in
them."""

from __future__ import annotations

from typing import Final

import onnx
from onnx import helper

from dimstream_models.bundle import SsimSettings
from dimstream_models.quality.support_map import DISAGREE, PREDICTED, UNSUPPORTED
from dimstream_server.pipeline import prediction_nodes
from dimstream_server.pipeline.local_level_nodes import predicted_structure
from dimstream_server.pipeline.onnx_nodes import Nodes, float_info, frame_info
from dimstream_server.pipeline.support_nodes import unsupported_share

OPSET: Final = 17
IR: Final = 8


def compose_alignment(settings: SsimSettings) -> onnx.ModelProto:
    """Graph that gives the SSIM of two normalised predictions after a shift was taken out.

    Returns
    -------
    onnx.ModelProto
        Inputs `before` and `after` (H, W) float32, `shift` (2,) int64: rows and columns by which the
        sample of `before` has moved in `after`. Output `ssim`, a scalar, of the part that both show.
    """
    nodes = Nodes()
    zero = nodes.integers([0, 0])
    sides = nodes.add("Shape", "before")
    forward = nodes.add("Max", "shift", zero)
    backward = nodes.add("Max", nodes.add("Neg", "shift"), zero)
    axes = nodes.integers([0, 1])
    old = nodes.add("Slice", "before", backward, nodes.add("Sub", sides, forward), axes)
    new = nodes.add("Slice", "after", forward, nodes.add("Sub", sides, backward), axes)
    nodes.add("Identity", prediction_nodes.ssim(nodes, old, new, settings), to="ssim")
    shift = helper.make_tensor_value_info("shift", onnx.TensorProto.INT64, [2])
    ends = [frame_info("before", "float32"), frame_info("after", "float32"), shift]
    return _model(nodes, ends, [float_info("ssim", [])])


def compose_agreement(settings: SsimSettings) -> onnx.ModelProto:
    """Graph that compares the predictions of both halves of a frame's photons.

    Returns
    -------
    onnx.ModelProto
        Inputs `first` and `second` (H, W) float32, normalised; `normalised` (H, W) float32, the whole frame's
        prediction; `support` (H, W) uint8, its support map. Outputs: `measures` (2,) float32, the SSIM of
        both and the share of the predicted signal that lacks support or on which they disagree; and `map`
        (H, W) uint8, the support map with what they disagree on.
    """
    nodes = Nodes()
    similarity = prediction_nodes.ssim_map(nodes, "first", "second", settings)
    reach = settings.window // 2
    padding = nodes.integers([0, 0, reach, reach, 0, 0, reach, reach])
    around = nodes.add("Pad", similarity, padding, mode="edge")  # (1, 1, H, W)
    unlike = nodes.add("Less", nodes.add("Squeeze", around, nodes.integers([0, 1])), nodes.number(DISAGREE))
    bits = nodes.cast("support", "int32")
    predicted = _has_bit(nodes, bits, PREDICTED)
    lacking = _has_bit(nodes, bits, UNSUPPORTED)
    disagreed = nodes.add("And", nodes.add("And", predicted, unlike), nodes.add("Not", lacking))
    added = nodes.add("Mul", nodes.cast(disagreed, "int32"), nodes.whole(UNSUPPORTED))
    nodes.cast(nodes.add("Add", bits, added), "uint8", to="map")
    signal = predicted_structure(nodes, "normalised")
    share = unsupported_share(nodes, signal, nodes.add("Or", disagreed, lacking))
    whole = nodes.add("ReduceMean", similarity, keepdims=0)
    start = nodes.integers([0])
    nodes.add(
        "Concat", *(nodes.add("Unsqueeze", one, start) for one in (whole, share)), axis=0, to="measures"
    )
    inputs = [frame_info(name, "float32") for name in ("first", "second", "normalised")]
    outputs = [float_info("measures", [2]), frame_info("map", "uint8")]
    return _model(nodes, [*inputs, frame_info("support", "uint8")], outputs)


def _has_bit(nodes: Nodes, bits: str, bit: int) -> str:
    """(H, W) bool: the pixels whose int32 value has `bit`, a power of two, set."""
    halved = nodes.add("Div", bits, nodes.whole(bit))
    return nodes.cast(nodes.add("Mod", halved, nodes.whole(2)), "bool")


def _model(
    nodes: Nodes, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes.nodes, "dimstream", inputs, outputs, nodes.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model)
    return model
