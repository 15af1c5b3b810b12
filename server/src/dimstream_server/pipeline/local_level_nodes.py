"""The level of the light around each pixel, and what rises above it, as ONNX nodes.

The numpy reference is :mod:`dimstream_models.quality.local_level`.
"""

from __future__ import annotations

import numpy as np

from dimstream_models.quality import local_level as reference
from dimstream_server.pipeline.onnx_nodes import Nodes


def local_level(nodes: Nodes, values: str, counted: str) -> str:
    """(H, W): as `reference.local_level` gives it; `values` and `counted` are (H, W) float32, 0 or 1."""
    both = nodes.stack(counted, nodes.add("Mul", values, counted))  # (1, 2, H, W)
    cells = cell_means(nodes, both, values, reference.CELL_PX)  # (1, 2, h, w)
    around = nodes.add("Conv", cells, nodes.tensor(_weights()), pads=[reference.CELLS // 2] * 4)
    known, *moments = nodes.split(around, len(_weights()), axis=1)
    known = nodes.add("Max", known, nodes.number(reference.TINY))
    y, x, yy, xx, xy, mean, of_y, of_x = (nodes.add("Div", one, known) for one in moments)
    steepness = nodes.number(reference.STEEPNESS)
    yy, xx = (
        nodes.add("Add", _covariance(nodes, square, place, place), steepness)
        for square, place in ((yy, y), (xx, x))
    )
    xy, of_y, of_x = (_covariance(nodes, *three) for three in ((xy, x, y), (of_y, y, mean), (of_x, x, mean)))
    determinant = _difference(nodes, (yy, xx), (xy, xy))
    slope_y = nodes.add("Div", _difference(nodes, (of_y, xx), (of_x, xy)), determinant)
    slope_x = nodes.add("Div", _difference(nodes, (of_x, yy), (of_y, xy)), determinant)
    tilted = nodes.add("Add", nodes.add("Mul", slope_y, y), nodes.add("Mul", slope_x, x))
    return enlarged(nodes, nodes.add("Sub", mean, tilted), values, reference.CELL_PX, mode="linear")


def predicted_structure(nodes: Nodes, prediction: str) -> str:
    """(H, W): as `reference.predicted_structure` gives it for (H, W) float32 `prediction`."""
    everywhere = nodes.add("Expand", nodes.number(1), nodes.add("Shape", prediction))
    rise = nodes.add("Sub", prediction, local_level(nodes, prediction, everywhere))
    low = nodes.cast(nodes.add("Less", rise, _mean_absolute(nodes, rise)), "float32")
    rise = nodes.add("Sub", prediction, local_level(nodes, prediction, low))
    deviations = nodes.add("Mul", _mean_absolute(nodes, rise), nodes.number(reference.DEVIATIONS))
    rounding = nodes.add("Mul", _mean_absolute(nodes, prediction), nodes.number(reference.RESOLUTION))
    above = nodes.add("Greater", rise, nodes.add("Max", deviations, rounding))
    return nodes.add("Mul", rise, nodes.cast(above, "float32"))


def cell_means(nodes: Nodes, images: str, frame: str, side: int) -> str:
    """(1, n, h, w): means of cells of `side` px of (1, n, H, W); what lies outside `frame` (H, W) counts as
    0."""
    sides = nodes.add("Shape", frame)
    missing = nodes.add("Sub", nodes.add("Mul", _cells(nodes, sides, side), nodes.integers([side])), sides)
    after = nodes.add("Concat", nodes.integers([0] * 6), missing, axis=0)
    whole = nodes.add("Pad", images, after)
    return nodes.add("AveragePool", whole, kernel_shape=[side, side], strides=[side, side])


def enlarged(nodes: Nodes, cells: str, frame: str, side: int, *, mode: str) -> str:
    """(H, W), as `frame` is: values of cells (1, 1, h, w) of `side` px, "linear" between their middles or
    those of the "nearest"."""
    sides = nodes.add("Shape", frame)
    pixels = nodes.add("Mul", nodes.add("Shape", cells), nodes.integers([1, 1, side, side]))
    whole = nodes.add("Resize", cells, "", "", pixels, mode=mode, coordinate_transformation_mode="half_pixel")
    cropped = nodes.add("Slice", whole, nodes.integers([0, 0]), sides, nodes.integers([2, 3]))
    return nodes.add("Squeeze", cropped, nodes.integers([0, 1]))


def _weights() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """(9, 2, CELLS, CELLS): those of the places, then those of the values."""
    places, values = reference.OF_PLACES, reference.OF_VALUES
    weights = np.zeros((len(places) + len(values), 2, *places.shape[1:]))
    weights[: len(places), 0], weights[len(places) :, 1] = places, values
    return weights


def _cells(nodes: Nodes, sides: str, side: int) -> str:
    """Cells along each of `sides` (2,)."""
    return nodes.add("Div", nodes.add("Add", sides, nodes.integers([side - 1])), nodes.integers([side]))


def _covariance(nodes: Nodes, of_both: str, one: str, other: str) -> str:
    return nodes.add("Sub", of_both, nodes.add("Mul", one, other))


def _difference(nodes: Nodes, first: tuple[str, str], second: tuple[str, str]) -> str:
    """Difference of two products."""
    return nodes.add("Sub", nodes.add("Mul", *first), nodes.add("Mul", *second))


def _mean_absolute(nodes: Nodes, image: str) -> str:
    return nodes.add("ReduceMean", nodes.add("Abs", image), keepdims=0)
