"""A pixel that is far brighter than what lies around it: a hot pixel, a cosmic ray, a speck."""

from __future__ import annotations

from typing import Final

import numpy as np

from dimstream_models.arithmetic import Array

TIMES: Final = 50.0
"""So many times its surroundings, and one photon more, is what no microscope images: even a single emitter
lights its neighbours to a quarter. Faint structure that is narrower than a pixel stays far below it."""


def has_outlier(photons: Array) -> bool:
    """Whether the brightest pixel of a frame (H, W) is beyond what its eight neighbours allow.

    It is when it exceeds `TIMES` (their median + 1 photon). Two or three hot pixels side by side are found,
    too.
    """
    row, column = np.unravel_index(int(photons.argmax()), photons.shape)
    around = photons[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    others = np.sort(around, axis=None)[:-1]  # without the brightest
    if not others.size:
        return False
    middle = others[
        (others.size - 1) // 2 : others.size // 2 + 1
    ].tolist()  # one or two: `others` are in order
    median = float(sum(middle)) / len(middle)
    return float(photons[row, column]) > TIMES * (max(median, 0.0) + 1)
