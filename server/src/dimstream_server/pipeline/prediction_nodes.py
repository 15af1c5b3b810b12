"""What is measured of a prediction inside the fused graph, each as ONNX nodes.

The numpy reference is :mod:`dimstream_models.arithmetic` and :mod:`dimstream_models.quality`. One pooling
with a square window beats two with its rows and columns, grouped convolutions and sums of shifted copies
on a CPU (`docs/results.md`).
"""

from __future__ import annotations

from dimstream_models.arithmetic import TINY, Normalisation
from dimstream_models.bundle import SsimSettings
from dimstream_models.quality.alignment import OVERVIEW_LIMIT, OVERVIEW_PX
from dimstream_models.ssim import SSIM_K1, SSIM_K2
from dimstream_server.pipeline.onnx_nodes import Nodes


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
    """Scalar: SSIM of two (H, W) float32 tensors, as `dimstream_models.ssim` gives it."""
    return nodes.add("ReduceMean", ssim_map(nodes, x, y, settings), keepdims=0)


def ssim_map(nodes: Nodes, x: str, y: str, settings: SsimSettings) -> str:
    """(1, 1, H - window + 1, W - window + 1): SSIM of the windows that lie inside two (H, W) float32 tensors.

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
    return nodes.add("Mul", nodes.add("Div", above, below), nodes.number(4))


def overview(nodes: Nodes, normalised: str, *, to: str) -> None:
    """Add `to` (H // 4, W // 4): the prediction's small copy, as `quality.alignment.overview` gives it."""
    held = nodes.add("Clip", normalised, nodes.number(-OVERVIEW_LIMIT), nodes.number(OVERVIEW_LIMIT))
    flat = nodes.integers([0, 1])
    square = [OVERVIEW_PX, OVERVIEW_PX]
    small = nodes.add("AveragePool", nodes.add("Unsqueeze", held, flat), kernel_shape=square, strides=square)
    nodes.add("Squeeze", small, flat, to=to)


def _window_means(nodes: Nodes, x: str, y: str, side: int) -> list[str]:
    flat = nodes.integers([0, 1])
    x4, y4 = nodes.add("Unsqueeze", x, flat), nodes.add("Unsqueeze", y, flat)
    squares = nodes.add("Add", nodes.add("Mul", x4, x4), nodes.add("Mul", y4, y4))
    stacked = nodes.add("Concat", x4, y4, squares, nodes.add("Mul", x4, y4), axis=1)  # (1, 4, H, W)
    pooled = nodes.add("AveragePool", stacked, kernel_shape=[side, side])  # no padding: whole windows only
    return nodes.split(pooled, 4, axis=1)


def _plus(nodes: Nodes, tensor: str, constant: float) -> str:
    return nodes.add("Add", tensor, nodes.number(constant))
