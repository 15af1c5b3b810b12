"""Noise-free images of simple structures, by formula: nothing here is shared with what models are trained on.

Everything is blurred by one Gaussian point spread function; a structure's own peak is 1. Places are (y, x)
in px, sizes in px.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Image = NDArray[np.float64]
Place = NDArray[np.float64]


def dot(shape: tuple[int, int], place: Place, sigma: float) -> Image:
    """Return a point, (H, W), integrated over each pixel; without pixels its peak would be 1."""
    rows, columns = (_integrated(side, at, sigma) for side, at in zip(shape, place, strict=True))
    return np.asarray(np.outer(rows, columns) * 2 * np.pi * sigma**2)


def line(shape: tuple[int, int], start: Place, end: Place, sigma: float) -> Image:
    """Return a straight line from `start` to `end`, (H, W)."""
    y, x = np.indices(shape)
    length = float(np.hypot(*(end - start)))
    way_y, way_x = (end - start) / length
    along = (y - start[0]) * way_y + (x - start[1]) * way_x
    across = (x - start[1]) * way_y - (y - start[0]) * way_x
    ends = special.erf(along / (np.sqrt(2) * sigma)) - special.erf((along - length) / (np.sqrt(2) * sigma))
    return np.asarray(np.exp(-(across**2) / (2 * sigma**2)) * ends / 2)


def ring(shape: tuple[int, int], centre: Place, radius: float, sigma: float) -> Image:
    """Return a thin ring, (H, W), its brightest pixel near 1."""
    y, x = np.indices(shape)
    distance = np.hypot(y - centre[0], x - centre[1])

    def profile(r: Image) -> Image:
        return np.asarray(
            np.exp(-((r - radius) ** 2) / (2 * sigma**2)) * special.ive(0, r * radius / sigma**2)
        )

    return profile(distance) / float(profile(np.linspace(0, 2 * radius, 400)).max())


def _integrated(side: int, at: float, sigma: float) -> Image:
    """Return the share of a Gaussian's light in each pixel of a row, (side,)."""
    edges = (np.arange(side + 1) - 0.5 - at) / (np.sqrt(2) * sigma)
    return np.asarray(np.diff(special.erf(edges)) / 2)
