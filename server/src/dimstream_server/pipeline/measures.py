"""What is measured of a frame inside the fused graph, each as ONNX nodes.

The numpy reference is :mod:`dimstream_models.arithmetic`. One pooling with a square window beats two with
its rows and columns, grouped convolutions and sums of shifted copies on a CPU (`docs/results.md`).
"""

from __future__ import annotations

from dimstream_models.arithmetic import SSIM_K1, SSIM_K2, TINY, Normalisation
from dimstream_models.bundle import SsimSettings
from dimstream_server.pipeline.graph import Nodes


def normalise_prediction(nodes: Nodes, prediction: str, mean: str, method: Normalisation, *, to: str) -> None:
    """Add `to`: the prediction on a scale of its own, as `arithmetic.normalise_prediction` gives it."""
    tiny = nodes.number(TINY)
    if method == "maximum":
        maximum = nodes.add("ReduceMax", prediction, keepdims=0)
        nodes.add("Div", prediction, nodes.add("Max", maximum, tiny), to=to)
        return
    centred = nodes.add("Sub", prediction, mean)
    deviation = nodes.add("ReduceMean", nodes.add("Abs", centred), keepdims=0)
    nodes.add("Div", centred, nodes.add("Max", deviation, tiny), to=to)


def ssim(nodes: Nodes, x: str, y: str, settings: SsimSettings) -> str:
    """Scalar: SSIM of two (H, W) float32 tensors, as `arithmetic.ssim` gives it.

    The map is (2 p + C1)(2 u (E[xy] - p) + C2) / ((q + C1)(u (E[xx + yy] - q) + C2)) with p and q the
    product and the squares' sum of the window means and u = n / (n - 1). Both 2 are drawn out to the end
    and u goes into C2, so that few passes over the image are left.
    """
    side = settings.window
    unbiased = side**2 / (side**2 - 1)
    c1, c2 = (SSIM_K1 * settings.data_range) ** 2, (SSIM_K2 * settings.data_range) ** 2 / unbiased
    mean_x, mean_y, mean_squares, mean_product = _window_means(nodes, x, y, side)
    p = nodes.add("Mul", mean_x, mean_y)
    q = nodes.add("Add", nodes.add("Mul", mean_x, mean_x), nodes.add("Mul", mean_y, mean_y))
    covariance = nodes.add("Sub", mean_product, p)
    variances = nodes.add("Sub", mean_squares, q)
    above = nodes.add("Mul", _plus(nodes, p, c1 / 2), _plus(nodes, covariance, c2 / 2))
    below = nodes.add("Mul", _plus(nodes, q, c1), _plus(nodes, variances, c2))
    mean = nodes.add("ReduceMean", nodes.add("Div", above, below), keepdims=0)
    return nodes.add("Mul", mean, nodes.number(4))


def fractions(
    nodes: Nodes, counts: str, window: int, background_max: str, signal_min: str
) -> tuple[str, str, str]:
    """Three scalars, as `arithmetic.signal_fractions` gives them: background, uncertain, signal."""
    reflected = _reflected(nodes, _reflected(nodes, counts, window, axis=0), window, axis=1)
    flat = nodes.integers([0, 1])
    means = nodes.add(
        "AveragePool", nodes.add("Unsqueeze", reflected, flat), kernel_shape=[window, window]
    )  # (1, 1, H, W)
    dark = nodes.add("LessOrEqual", means, _as_mean(nodes, background_max, window))
    bright = nodes.add("Greater", means, _as_mean(nodes, signal_min, window))
    background, signal = _share(nodes, dark), _share(nodes, bright)
    neither = nodes.add("Sub", nodes.number(1), nodes.add("Add", background, signal))
    return background, nodes.add("Max", neither, nodes.number(0)), signal


def _window_means(nodes: Nodes, x: str, y: str, side: int) -> list[str]:
    flat = nodes.integers([0, 1])
    x4, y4 = nodes.add("Unsqueeze", x, flat), nodes.add("Unsqueeze", y, flat)
    squares = nodes.add("Add", nodes.add("Mul", x4, x4), nodes.add("Mul", y4, y4))
    stacked = nodes.add("Concat", x4, y4, squares, nodes.add("Mul", x4, y4), axis=1)  # (1, 4, H, W)
    pooled = nodes.add("AveragePool", stacked, kernel_shape=[side, side])  # no padding: whole windows only
    return nodes.split(pooled, 4, axis=1)


def _plus(nodes: Nodes, tensor: str, constant: float) -> str:
    return nodes.add("Add", tensor, nodes.number(constant))


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
