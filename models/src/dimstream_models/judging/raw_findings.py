"""What a raw frame shows by itself. No prediction takes part, so it can be found while the network runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from dimstream_models.arithmetic import Array
from dimstream_models.quality.count_check import Doubt, doubt_counts
from dimstream_models.quality.detector import Detector
from dimstream_models.quality.outliers import has_outlier

LARGE: Final = 2**16
"""Pixels."""


@dataclass(frozen=True)
class RawFindings:
    """What one raw frame shows, and what speaks against its values.

    Parameters
    ----------
    doubt : Doubt or None
        What speaks against their being photon counts; offset and gain were not looked for.
    outlier : bool
        Whether one pixel is far brighter than what lies around it.
    light : float
        Mean photons of a pixel, of every fourth row of large frames.
    """

    doubt: Doubt | None
    outlier: bool
    light: float

    @classmethod
    def of(cls, photons: Array, detector: Detector | None) -> Self:
        """Return what is found in a frame.

        Parameters
        ----------
        photons
            (H, W), as the network is given them.
        detector
            By which they were made of the detector's values; None: the values are photons.
        """
        rows = photons if photons.size < LARGE else photons[::4]
        return cls(
            doubt_counts(photons, converted=detector is not None),
            has_outlier(photons),
            float(rows.mean(dtype=np.float64)),
        )
