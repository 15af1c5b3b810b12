"""Whether the support map is right, pixel by pixel, where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.quality.support_map import PREDICTED, UNSUPPORTED

NEAR_PX: Final = 7
"""Side of the square around a pixel within which structure counts as its own: 3 px to each side."""
INVENTED: Final = 0.1
"""Of the dose: predicted structure is invented where no truth near it reaches that."""
REAL: Final = 0.25
"""Of the dose: predicted structure is real where truth near it reaches that; between both it is left out."""


@dataclass(frozen=True)
class PixelTally:
    """How many predicted pixels are invented or real, and how many of these are called unsupported."""

    invented: int = 0
    invented_unsupported: int = 0
    real: int = 0
    real_unsupported: int = 0

    def __add__(self, other: PixelTally) -> PixelTally:
        return PixelTally(
            self.invented + other.invented,
            self.invented_unsupported + other.invented_unsupported,
            self.real + other.real,
            self.real_unsupported + other.real_unsupported,
        )


def tally_pixels(bits: NDArray[np.uint8], truth: NDArray[np.float32], dose: float) -> PixelTally:
    """Return the tally of one frame.

    Parameters
    ----------
    bits : ndarray
        (H, W), its support map, see `quality.support_map`.
    truth : ndarray
        (H, W), expected photons of the sample.
    dose : float
        Of them on a typical structure's peak; 0: everything that is predicted is invented.
    """
    predicted, unsupported = ((bits & bit).astype(bool) for bit in (PREDICTED, UNSUPPORTED))
    near = ndimage.maximum_filter(truth, NEAR_PX) / dose if dose else np.zeros_like(truth)
    invented, real = predicted & (near < INVENTED), predicted & (near >= REAL)
    return PixelTally(
        int(invented.sum()),
        int((invented & unsupported).sum()),
        int(real.sum()),
        int((real & unsupported).sum()),
    )
