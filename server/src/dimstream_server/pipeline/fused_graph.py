"""One ONNX graph from counts to counts: the bundle's network inside the bracket that belongs to it.

``frame`` → cast → preprocessing → edge padding → network → crop → postprocessing → ``denoised``; next to it
the prediction normalised on its own, its overview, and its SSIM with the plane's previous one, taken
before rescaling, and what is measured of the raw frame and of the prediction on it. Where error bars are
asked for, the bundle's second network follows the first in the same graph (`error_bar_nodes`). The bracket is
built in the opset of the network.
"""

from __future__ import annotations

from typing import Final

import onnx
from onnx import compose as onnx_compose
from onnx import version_converter

from dimstream_models.bundle import Bundle
from dimstream_models.judging import Measures
from dimstream_server.errors import UnsupportedNetwork
from dimstream_server.pipeline import prediction_nodes, raw_frame_nodes
from dimstream_server.pipeline.error_bar_nodes import error_bar
from dimstream_server.pipeline.network_reading import opset_of, reading, strip
from dimstream_server.pipeline.onnx_nodes import Nodes, float_info, frame_info
from dimstream_server.pipeline.padding_nodes import cropped, edge_padded
from dimstream_server.pipeline.processing_nodes import apply_steps, as_counts
from dimstream_server.pipeline.support_nodes import support

INPUTS: Final = ("frame", "previous", "background_max", "signal_min")
OUTPUTS: Final = ("denoised", "normalised", "measures", "overview", "support")
SD: Final = "sd"
"""One output more, where error bars are asked for."""

LOWEST_OPSET: Final = 17
LOWEST_IR: Final = 8
NETWORK: Final = "network/"
FLOATS: Final = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


def compose(bundle: Bundle, in_dtype: str, out_dtype: str, *, with_sd: bool = False) -> onnx.ModelProto:
    """Fused graph of a bundle for one pair of pixel types, free of documentation and source paths.

    Parameters
    ----------
    in_dtype : str
        Of the raw counts: "uint8", "uint16" or "float32".
    out_dtype : str
        Of the denoised counts: "uint16" or "float32".
    with_sd : bool
        Whether the graph also gives `sd`, the standard deviation of each pixel, (H, W) float32, in denoised
        counts.

    Returns
    -------
    onnx.ModelProto
        Inputs `INPUTS`: two frames (H, W), the second float32, and two float32 scalars. Outputs `OUTPUTS`:
        two frames (H, W), the second float32, the figures of `judging.Measures` as one float32 vector, an
        overview (H // 4, W // 4) float32, and a support map (H, W) uint8, see `quality.support_map`.

    Raises
    ------
    UnsupportedNetwork
        When the network has not one input and one output of the declared rank, or cannot be read; or the
        bundle has no error bar, and `with_sd`.
    """
    network, nodes, own, frame, prediction = _bracketed(bundle, in_dtype)
    mean = nodes.add("ReduceMean", prediction, keepdims=0)
    prediction_nodes.normalise_prediction(nodes, prediction, mean, bundle.ssim.normalisation, to="normalised")
    as_counts(nodes, apply_steps(nodes, bundle.postprocessing, prediction), out_dtype, to="denoised")
    prediction_nodes.overview(nodes, "normalised", to="overview")
    _measure(nodes, bundle, frame, prediction, mean)
    inputs = [frame_info("frame", in_dtype), frame_info("previous", "float32")]
    inputs += [float_info("background_max", []), float_info("signal_min", [])]
    outputs = [frame_info("denoised", out_dtype), frame_info("normalised", "float32")]
    outputs += [float_info("measures", [len(Measures._fields)]), float_info("overview", ["h", "w"])]
    outputs.append(frame_info("support", "uint8"))
    if with_sd:
        error_bar(nodes, bundle, frame, prediction, opset=opset_of(network), to=SD)
        outputs.append(frame_info(SD, "float32"))
    _close(network, nodes, own, inputs, outputs)
    return _checked(network, bundle)


def compose_prediction(bundle: Bundle, in_dtype: str) -> onnx.ModelProto:
    """Graph of a bundle from `frame` (H, W) to `normalised` (H, W) alone: half the photons need no more.

    Raises
    ------
    UnsupportedNetwork
        As `compose`.
    """
    network, nodes, own, _, prediction = _bracketed(bundle, in_dtype)
    mean = nodes.add("ReduceMean", prediction, keepdims=0)
    prediction_nodes.normalise_prediction(nodes, prediction, mean, bundle.ssim.normalisation, to="normalised")
    _close(network, nodes, own, [frame_info("frame", in_dtype)], [frame_info("normalised", "float32")])
    return _checked(network, bundle)


def _bracketed(bundle: Bundle, in_dtype: str) -> tuple[onnx.ModelProto, Nodes, int, str, str]:
    """Network, the bracket's nodes, how many run before it, the float32 frame and the prediction (H, W)."""
    network = _network(bundle)
    source, target = network.graph.input[0], network.graph.output[0]
    nodes = Nodes()
    frame = nodes.cast("frame", "float32") if in_dtype != "float32" else "frame"
    _enter(nodes, bundle, frame, source)
    own = len(nodes.nodes)
    return network, nodes, own, frame, _leave(nodes, bundle, frame, target)


def _close(
    model: onnx.ModelProto,
    nodes: Nodes,
    before: int,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> None:
    """Put the first `before` nodes of the bracket before the network's, the others behind, and name the
    ends. Those of the network stay known, as `network_split` cuts there."""
    graph = model.graph
    inside = list(graph.node)
    graph.value_info.extend((graph.input[0], graph.output[0]))
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*nodes.nodes[:before], *inside, *nodes.nodes[before:]])
    graph.initializer.extend(nodes.constants)
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    graph.name = "dimstream"
    model.producer_name, model.producer_version, model.domain = "dimstream", "", ""


def _network(bundle: Bundle) -> onnx.ModelProto:
    """The bundle's network in an opset for the bracket, its names prefixed, with one input and output."""
    with reading(bundle):
        network = onnx.load_model_from_string(bundle.onnx)
        if opset_of(network) < LOWEST_OPSET:
            network = version_converter.convert_version(network, LOWEST_OPSET)
    strip(network)
    del network.graph.value_info[:]  # inferred shapes, stale for other frame sizes
    weights = {tensor.name for tensor in network.graph.initializer}
    inputs = [value for value in network.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(network.graph.output) != 1:
        raise UnsupportedNetwork(
            f"{bundle.id}: expected a network with one input and one output, "
            f"got {len(inputs)} and {len(network.graph.output)}"
        )
    del network.graph.input[:]
    network.graph.input.extend(inputs)
    _check_ends(bundle, inputs[0], network.graph.output[0])
    for end, axes in (
        (network.graph.input[0], bundle.input_axes),
        (network.graph.output[0], bundle.output_axes),
    ):
        shape = end.type.tensor_type.shape  # its sides may be stale for other frame sizes, too
        del shape.dim[:]
        shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in axes)
    network.ir_version = max(network.ir_version, LOWEST_IR)
    with reading(bundle):  # names that are no UTF-8 come to light here
        return onnx_compose.add_prefix(network, NETWORK)


def _check_ends(bundle: Bundle, source: onnx.ValueInfoProto, target: onnx.ValueInfoProto) -> None:
    for value, axes in ((source, bundle.input_axes), (target, bundle.output_axes)):
        kind = value.type.tensor_type
        if kind.elem_type not in FLOATS:
            raise UnsupportedNetwork(
                f"{bundle.id}: {value.name} must be of floats, not type {kind.elem_type}"
            )
        if kind.HasField("shape") and len(kind.shape.dim) != len(axes):
            raise UnsupportedNetwork(
                f"{bundle.id}: {value.name} has {len(kind.shape.dim)} dimensions, its axes are {axes!r}"
            )
    fixed = [
        dim.dim_value
        for axis, dim in zip(bundle.input_axes, source.type.tensor_type.shape.dim, strict=False)
        if axis in "yx" and dim.dim_value
    ]
    if fixed:
        raise UnsupportedNetwork(
            f"{bundle.id}: the network takes frames of fixed sides {fixed} only; export it with dynamic ones"
        )


def _enter(nodes: Nodes, bundle: Bundle, frame: str, source: onnx.ValueInfoProto) -> None:
    """From the float32 frame to the network's input: preprocessing, edge padding, its axes and type."""
    values = apply_steps(nodes, bundle.preprocessing, frame)
    if bundle.step > 1 or bundle.min_side > 1:
        values = edge_padded(nodes, values, bundle.step, bundle.min_side)
    single = [place for place, axis in enumerate(bundle.input_axes) if axis in "bc"]
    if single:
        values = nodes.add("Unsqueeze", values, nodes.integers(single))
    nodes.cast_to(values, source.type.tensor_type.elem_type, to=source.name)


def _leave(nodes: Nodes, bundle: Bundle, frame: str, target: onnx.ValueInfoProto) -> str:
    """From the network's output to the prediction (H, W) float32: its axes taken off, cropped.

    Of a network that says what each pixel shows, the prediction is the place of the likeliest class.
    """
    values = target.name
    if bundle.classes:
        values = nodes.add("ArgMax", values, axis=bundle.output_axes.index("c"), keepdims=1)
        values = nodes.cast(values, "float32")
    elif target.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        values = nodes.cast(values, "float32")
    single = [place for place, axis in enumerate(bundle.output_axes) if axis in "bc"]
    if single:
        values = nodes.add("Squeeze", values, nodes.integers(single))
    return cropped(nodes, values, frame)


def _measure(nodes: Nodes, bundle: Bundle, frame: str, prediction: str, mean: str) -> None:
    """Add the outputs `measures`, whose parts stand in the order of `judging.Measures`, and `support`."""
    similarity = prediction_nodes.ssim(nodes, "normalised", "previous", bundle.ssim)
    window = bundle.thresholds.window_px
    found = raw_frame_nodes.classes(nodes, frame, window, "background_max", "signal_min")
    unsupported = support(nodes, frame, prediction, found.dark, found.bright, to="support")
    extremes = raw_frame_nodes.extremes(nodes, frame)
    structure = raw_frame_nodes.structure(nodes, frame)
    scalars = [similarity, *found.shares, *extremes, structure, unsupported, mean]
    start = nodes.integers([0])
    nodes.add("Concat", *(nodes.add("Unsqueeze", one, start) for one in scalars), axis=0, to="measures")


def _checked(model: onnx.ModelProto, bundle: Bundle) -> onnx.ModelProto:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise UnsupportedNetwork(f"{bundle.id}: the network does not fit its opset: {error}") from error
    return model
