"""The support map as ONNX nodes; the numpy reference is :mod:`dimstream_models.quality.support_map`."""

from __future__ import annotations

from dimstream_models.quality import support_map as reference
from dimstream_server.pipeline.local_level_nodes import cell_means, enlarged, local_level, predicted_structure
from dimstream_server.pipeline.onnx_nodes import Nodes


def support(nodes: Nodes, counts: str, prediction: str, dark: str, bright: str, *, to: str) -> str:
    """Add `to` (H, W) uint8, and return the scalar share, both as `reference.support` gives them.

    Parameters
    ----------
    counts, prediction : str
        (H, W) float32.
    dark, bright : str
        (1, 1, H, W) bool: pixels of the classes background and signal.
    """
    signal = predicted_structure(nodes, prediction)
    predicted = nodes.add("Greater", signal, nodes.number(0))
    lacking = nodes.add("And", predicted, nodes.add("Not", supported_pixels(nodes, counts, signal)))
    flat = nodes.integers([0, 1])
    bright, dark = (nodes.add("Squeeze", mask, flat) for mask in (bright, dark))
    bits = [
        (bright, reference.SIGNAL),
        (nodes.add("Not", nodes.add("Or", dark, bright)), reference.UNCERTAIN),
        (predicted, reference.PREDICTED),
        (lacking, reference.UNSUPPORTED),
    ]
    valued = [nodes.add("Mul", nodes.cast(mask, "float32"), nodes.number(bit)) for mask, bit in bits]
    nodes.cast(nodes.add("Sum", *valued), "uint8", to=to)
    return unsupported_share(nodes, signal, lacking)


def unsupported_share(nodes: Nodes, signal: str, lacking: str) -> str:
    """Scalar: share of `signal` (H, W) float32 on the pixels `lacking` (H, W) bool; 0 when there is none."""
    lost = nodes.add("Mul", signal, nodes.cast(lacking, "float32"))
    unsupported, whole = (nodes.add("ReduceSum", one, keepdims=0) for one in (lost, signal))
    return nodes.add("Div", unsupported, nodes.add("Max", whole, nodes.number(1e-12)))


def supported_pixels(nodes: Nodes, counts: str, structure: str) -> str:
    """(H, W) bool: as `reference.supported_pixels` gives it."""
    predicted = nodes.cast(nodes.add("Greater", structure, nodes.number(0)), "float32")
    photons = _without_hot_pixels(nodes, counts)
    elsewhere = nodes.add("Sub", nodes.number(1), predicted)
    background = nodes.add("Relu", local_level(nodes, photons, elsewhere))
    template = _template(nodes, structure, predicted)
    gain = _gain(nodes, nodes.add("Sub", photons, background), template, predicted)
    of_light, of_background, of_squares, of_template = _window_sums(
        nodes, template, photons, background, counts
    )
    weight = _at_least(nodes, nodes.add("Div", of_squares, _at_least(nodes, of_template)))
    background = nodes.add("Div", of_background, weight)
    level = _root(nodes, background)
    seen = nodes.add("Sub", _root(nodes, nodes.add("Div", of_light, weight)), level)
    with_light = nodes.add("Add", background, nodes.add("Mul", gain, of_template))
    expected = nodes.add("Sub", _root(nodes, with_light), level)
    needed = nodes.add(
        "Max",
        nodes.number(reference.LEAST_SEEN),
        nodes.add("Mul", expected, nodes.number(reference.LEAST_SHARE)),
    )
    told = nodes.add("GreaterOrEqual", expected, nodes.number(reference.LEAST_EXPECTED))
    cells = nodes.cast(nodes.add("And", told, nodes.add("GreaterOrEqual", seen, needed)), "float32")
    pixels = enlarged(nodes, cells, counts, reference.CELL_PX, mode="nearest")
    return nodes.cast(pixels, "bool")


def _without_hot_pixels(nodes: Nodes, counts: str) -> str:
    """(H, W): as `reference.without_hot_pixels` gives it."""
    flat = nodes.integers([0, 1])
    padding = nodes.integers([0, 0, 1, 1, 0, 0, 1, 1])
    padded = nodes.add("Pad", nodes.add("Unsqueeze", counts, flat), padding, mode="reflect")
    means = nodes.add("Squeeze", nodes.add("AveragePool", padded, kernel_shape=[3, 3]), flat)
    others = nodes.add("Sub", nodes.add("Mul", means, nodes.number(9)), counts)
    around = nodes.add("Mul", nodes.add("Relu", others), nodes.number(1 / 8))
    root = nodes.add("Sqrt", nodes.add("Add", around, nodes.number(1)))
    above = nodes.add("Mul", root, nodes.number(reference.HOT_DEVIATIONS))
    likely = nodes.add("Mul", around, nodes.number(reference.HOT_RATIO))
    return nodes.add("Min", counts, nodes.add("Add", likely, above))


def _template(nodes: Nodes, structure: str, predicted: str) -> str:
    """(H, W): structure, whose mean where it is predicted is 1."""
    whole, pixels = (nodes.add("ReduceSum", one, keepdims=0) for one in (structure, predicted))
    mean = nodes.add("Div", whole, nodes.add("Max", pixels, nodes.number(1)))
    return nodes.add("Div", structure, nodes.add("Max", mean, nodes.number(1e-30)))


def _gain(nodes: Nodes, light: str, template: str, predicted: str) -> str:
    weights = nodes.add("Div", predicted, nodes.add("Add", template, nodes.number(1)))
    photons, claimed = (
        nodes.add("ReduceSum", nodes.add("Mul", one, weights), keepdims=0) for one in (light, template)
    )
    return nodes.add("Relu", nodes.add("Div", photons, _at_least(nodes, claimed)))


def _window_sums(nodes: Nodes, template: str, photons: str, background: str, frame: str) -> list[str]:
    """Four (1, 1, h, w): sums of the template's products with photons, background and itself, and its own."""
    products = [nodes.add("Mul", template, each) for each in (photons, background, template)]
    cells = cell_means(nodes, nodes.stack(*products, template), frame, reference.CELL_PX)
    side, reach = reference.CELLS, reference.CELLS // 2
    means = nodes.add("AveragePool", cells, kernel_shape=[side, side], pads=[reach] * 4, count_include_pad=1)
    return nodes.split(nodes.add("Mul", means, nodes.number(reference.WINDOW_PX)), 4, axis=1)


def _at_least(nodes: Nodes, values: str) -> str:
    return nodes.add("Max", values, nodes.number(reference.TINY))


def _root(nodes: Nodes, counts: str) -> str:
    lifted = nodes.add("Add", nodes.add("Relu", counts), nodes.number(reference.ANSCOMBE))
    return nodes.add("Mul", nodes.add("Sqrt", lifted), nodes.number(2))
