"""What a raw frame shows by itself. No prediction is needed, so this runs while the network runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from dimstream_models.arithmetic import Array
from dimstream_models.quality.count_check import Doubt, doubt_counts
from dimstream_models.quality.detector import Detector
from dimstream_models.quality.outliers import has_outlier

LARGE: Final = 2**16
"""Frames with more pixels than this are large."""


@dataclass(frozen=True)
class RawFindings:
    """What one raw frame shows by itself.

    Parameters
    ----------
    doubt : Doubt or None
        Why its values are not photon counts; offset and gain are not estimated.
    outlier : bool
        Whether a pixel is far brighter than its surroundings.
    light : float
        Mean photons per pixel; of every fourth row in large frames.
    """

    doubt: Doubt | None
    outlier: bool
    light: float

    @classmethod
    def of(cls, photons: Array, detector: Detector | None) -> Self:
        """Return the findings of a frame.

        Parameters
        ----------
        photons
            (H, W), the network's input.
        detector
            Offset and gain by which photons were calculated; None: the values are photons.
        """
        rows = photons if photons.size < LARGE else photons[::4]
        return cls(
            doubt_counts(photons, converted=detector is not None),
            has_outlier(photons),
            float(rows.mean(dtype=np.float64)),
        )
