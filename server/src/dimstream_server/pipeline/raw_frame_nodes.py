"""What is measured of the raw frame inside the fused graph, each as ONNX nodes.

The numpy reference is :mod:`dimstream_models.arithmetic` and :mod:`dimstream_models.quality`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dimstream_models.quality import structure as reference
from dimstream_models.quality.saturation import NEAR
from dimstream_server.pipeline.onnx_nodes import Nodes


@dataclass(frozen=True, slots=True)
class Classes:
    """Names of what the window sums of a raw frame say.

    Parameters
    ----------
    shares : tuple of str
        Three scalars, as `arithmetic.signal_fractions` gives them: background, uncertain, signal.
    dark, bright : str
        (1, 1, H, W) bool: pixels of the classes background and signal.
    """

    shares: tuple[str, str, str]
    dark: str
    bright: str


def structure(nodes: Nodes, counts: str) -> str:
    """Scalar: as `quality.structure.structure_score` gives it for (H, W) float32 `counts`."""
    detail = _scaled(nodes, _detail(nodes, _sigma_clipped(nodes, counts)))  # (1, 1, H, W)
    squares = nodes.add("Mul", detail, detail)
    pairs = _pairs(nodes, counts)
    biased = nodes.add("Mul", nodes.add("ReduceSum", squares, keepdims=0), nodes.number(reference.BIAS))
    correlated = _products_of_neighbours(nodes, detail)
    products = nodes.add("Add", correlated, nodes.add("Mul", biased, pairs))
    of_noise = nodes.add("Mul", _product_of_near(nodes, squares), nodes.add("Mul", pairs, nodes.number(2)))
    pixels = nodes.cast(nodes.add("Size", counts), "float32")
    largest = nodes.add("ReduceMax", squares, keepdims=0)
    coincidence = nodes.add("Mul", nodes.add("Mul", largest, largest), nodes.number(4))
    error = nodes.add("Sqrt", nodes.add("Add", nodes.add("Mul", of_noise, pixels), coincidence))
    return nodes.add("Div", products, nodes.add("Max", error, nodes.number(1e-12)))


def extremes(nodes: Nodes, counts: str) -> tuple[str, str, str, str]:
    """Four scalars: minimum, maximum, and as `quality.saturation.shares_at_maximum` the shares at and
    near it."""
    minimum, maximum = (nodes.add(kind, counts, keepdims=0) for kind in ("ReduceMin", "ReduceMax"))
    light = nodes.add("Max", maximum, nodes.number(0))  # an offset may leave nothing above zero
    reach = nodes.add("Mul", nodes.add("Sqrt", light), nodes.number(NEAR))
    least = nodes.add("Sub", maximum, nodes.add("Max", reach, nodes.number(1)))
    near = nodes.add("GreaterOrEqual", counts, least)
    return minimum, maximum, _share(nodes, nodes.add("Equal", counts, maximum)), _share(nodes, near)


def classes(nodes: Nodes, counts: str, window: int, background_max: str, signal_min: str) -> Classes:
    """The paper's classes of (H, W) float32 `counts`."""
    reflected = _reflected(nodes, _reflected(nodes, counts, window, axis=0), window, axis=1)
    flat = nodes.integers([0, 1])
    means = nodes.add(
        "AveragePool", nodes.add("Unsqueeze", reflected, flat), kernel_shape=[window, window]
    )  # (1, 1, H, W)
    dark = nodes.add("LessOrEqual", means, _as_mean(nodes, background_max, window))
    bright = nodes.add("Greater", means, _as_mean(nodes, signal_min, window))
    background, signal = _share(nodes, dark), _share(nodes, bright)
    neither = nodes.add("Sub", nodes.number(1), nodes.add("Add", background, signal))
    return Classes((background, nodes.add("Max", neither, nodes.number(0)), signal), dark, bright)


def _sigma_clipped(nodes: Nodes, counts: str) -> str:
    cap = nodes.add("ReduceMax", counts, keepdims=0)
    for _ in range(reference.CLIP_ROUNDS):
        held = nodes.add("Min", counts, cap)
        mean = nodes.add("ReduceMean", held, keepdims=0)
        centred = nodes.add("Sub", held, mean)
        variance = nodes.add("ReduceMean", nodes.add("Mul", centred, centred), keepdims=0)
        above = nodes.add("Mul", nodes.add("Sqrt", variance), nodes.number(reference.CLIP_DEVIATIONS))
        cap = nodes.add("Min", cap, nodes.add("Add", mean, above))
    return nodes.add("Min", counts, cap)


def _detail(nodes: Nodes, values: str) -> str:
    """(1, 1, H, W): values less the mean of what lies around them, then less their rows' and columns'."""
    values = nodes.add("Unsqueeze", values, nodes.integers([0, 1]))
    side, reach = reference.DETAIL_PX, reference.DETAIL_PX // 2
    around = nodes.add(
        "AveragePool", values, kernel_shape=[side, side], pads=[reach] * 4, count_include_pad=0
    )
    near = nodes.add("Sub", values, around)
    even = nodes.add("Sub", near, nodes.mean(near, axis=3))
    return nodes.add("Sub", even, nodes.mean(even, axis=2))


def _scaled(nodes: Nodes, detail: str) -> str:
    """Detail in units of its largest value: fourth powers stay within float32, and scores have no unit."""
    largest = nodes.add("ReduceMax", nodes.add("Abs", detail), keepdims=0)
    return nodes.add("Div", detail, nodes.add("Max", largest, nodes.number(1e-12)))


def _products_of_neighbours(nodes: Nodes, detail: str) -> str:
    """Scalar: sum over all pixels of (1, 1, H, W) of the product with each of its neighbours in the frame.

    A neighbour is so many rows away and so many columns. So the products of the sums along both axes through
    a pixel, summed, are the same products: two small poolings, where a convolution takes five times as long.
    """
    rows, columns = (_neighbours_along(nodes, detail, axis=axis) for axis in (0, 1))
    return nodes.add("ReduceSum", nodes.add("Mul", rows, columns), keepdims=0)


def _neighbours_along(nodes: Nodes, detail: str, *, axis: int) -> str:
    """(1, 1, H, W): sum of the pixels at most `REACH_PX` away along an axis, without the pixel itself."""
    kernel, reach = [1, 1], [0, 0]
    kernel[axis], reach[axis] = len(reference.NEIGHBOURS), reference.REACH_PX
    means = nodes.add("AveragePool", detail, kernel_shape=kernel, pads=reach * 2, count_include_pad=1)
    return nodes.add("Sub", nodes.add("Mul", means, nodes.number(kernel[axis])), detail)


def _product_of_near(nodes: Nodes, squares: str) -> str:
    """Scalar: mean product of the squares of two different pixels of the same block, of whole blocks."""
    side, number = reference.BLOCK_PX, reference.BLOCK_PX**2
    fourth = nodes.add("Mul", squares, squares)
    both = nodes.add("Concat", squares, fourth, axis=1)  # (1, 2, H, W)
    means = nodes.add("AveragePool", both, kernel_shape=[side, side], strides=[side, side])
    of_squares, of_fourth = nodes.split(means, 2, axis=1)
    of_blocks = nodes.add("ReduceMean", nodes.add("Mul", of_squares, of_squares), keepdims=0)
    with_itself = nodes.add("ReduceMean", of_fourth, keepdims=0)
    summed = nodes.add("Mul", of_blocks, nodes.number(number**2))
    different = nodes.add("Sub", summed, nodes.add("Mul", with_itself, nodes.number(number)))
    mean = nodes.add("Div", different, nodes.number(number * (number - 1)))
    return nodes.add("Max", mean, nodes.number(0))


def _pairs(nodes: Nodes, counts: str) -> str:
    """Scalar: neighbours inside the frame that a pixel has in the mean."""
    sides = nodes.cast(nodes.add("Shape", counts), "float32")
    lost = nodes.add("Div", nodes.number(reference.LOST_AT_BORDERS), sides)
    along = nodes.add("Sub", nodes.number(reference.PAIRS_PER_AXIS), lost)
    return nodes.add("ReduceProd", along, keepdims=0)


def _as_mean(nodes: Nodes, threshold: str, window: int) -> str:
    """Mean that lies between the whole-number sums `threshold` and the one above it."""
    between = nodes.add("Add", nodes.add("Floor", threshold), nodes.number(0.5))
    return nodes.add("Div", between, nodes.number(window**2))


def _share(nodes: Nodes, mask: str) -> str:
    return nodes.add("ReduceMean", nodes.cast(mask, "float32"), keepdims=0)


def _reflected(nodes: Nodes, frame: str, window: int, *, axis: int) -> str:
    """Frame with borders as ``numpy.pad(mode="symmetric")`` makes them, which ONNX's Pad cannot."""
    before, after = window // 2, window - 1 - window // 2
    length = nodes.add("Gather", nodes.add("Shape", frame), nodes.integers([axis]))  # (1,)
    parts = [frame]
    if before:
        above = nodes.integers(list(range(-before, 0)))
        parts.insert(0, _strip(nodes, frame, above, length, axis))
    if after:
        below = nodes.add("Add", nodes.integers(list(range(after))), length)
        parts.append(_strip(nodes, frame, below, length, axis))
    return nodes.add("Concat", *parts, axis=axis)


def _strip(nodes: Nodes, frame: str, places: str, length: str, axis: int) -> str:
    """Rows or columns at `places` of the endlessly reflected frame."""
    period = nodes.add("Mul", length, nodes.integers([2]))
    forward = nodes.add("Mod", places, period)
    backward = nodes.add("Sub", nodes.add("Sub", period, nodes.integers([1])), forward)
    return nodes.add("Gather", frame, nodes.add("Min", forward, backward), axis=axis)
