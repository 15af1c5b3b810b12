"""Where to draw the line along which images are compared."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter1d

Point = tuple[float, float]  # y, x, px

LONGEST_PX: Final = 128
SMOOTHING_PX: Final = 1.5


def line_through_structure(image: NDArray[Any]) -> tuple[Point, Point]:
    """Return the horizontal or vertical line along which an image (H, W) rises and falls most.

    Of all lines of 128 px, or of the image's side if that is shorter: the one with the largest mean square
    slope along it. The image is smoothed first, so that no line follows photon noise.
    """
    smooth = gaussian_filter(np.asarray(image, np.float64), SMOOTHING_PX)
    found = [_steepest(smooth), _steepest(smooth.T)]
    (_, row, start, end), axis = max((best, axis) for axis, best in enumerate(found))
    points = (float(row), float(start)), (float(row), float(end))
    return points if axis == 0 else (points[0][::-1], points[1][::-1])


def _steepest(image: NDArray[np.float64]) -> tuple[float, int, int, int]:
    """Return mean square slope, row, first and last column of the piece of a row that is steepest."""
    width = image.shape[1]
    length = min(LONGEST_PX, width)
    slope = np.diff(image, axis=1, append=image[:, -1:])
    energy = uniform_filter1d(np.square(slope), length, axis=1)
    whole = energy[:, length // 2 : width - (length - 1) // 2]  # windows that lie inside
    row, column = np.unravel_index(np.argmax(whole), whole.shape)
    return float(whole[row, column]), int(row), int(column), int(column) + length - 1
