"""The colour table for files of support maps, without which viewers show them black."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]

NOT_PREDICTED: Final[tuple[Colour, ...]] = ((0, 0, 0), (70, 70, 70), (60, 90, 170), (255, 255, 255))
"""Colours of background, uncertain and signal by photons; class 3 does not exist."""
SUPPORTED: Final[tuple[Colour, ...]] = ((0, 110, 60), (40, 170, 80), (120, 255, 120), (255, 255, 255))
"""The same for predicted signal that photons support: green."""
UNSUPPORTED: Final[tuple[Colour, ...]] = ((230, 0, 90), (255, 90, 0), (255, 200, 0), (255, 255, 255))
"""The same for predicted signal without support: red to yellow."""


def support_colours() -> npt.NDArray[np.uint16]:
    """Return the colour table for a file of support maps, (3, 256) uint16: red, green and blue of each
    value."""
    table = np.full((256, 3), 255, np.uint16)
    for value in range(16):
        colours = NOT_PREDICTED if not value & 4 else UNSUPPORTED if value & 8 else SUPPORTED
        table[value] = colours[value & 3]
    colours_by_channel: npt.NDArray[np.uint16] = np.ascontiguousarray(table.T * 257)
    return colours_by_channel
