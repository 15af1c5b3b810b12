"""What a raw frame shows by itself. No prediction takes part, so it can be found while the network runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dimstream_models.arithmetic import Array
from dimstream_models.quality.count_check import Doubt, doubt_counts
from dimstream_models.quality.detector import Detector
from dimstream_models.quality.outliers import has_outlier


@dataclass(frozen=True)
class RawFindings:
    """What speaks against the values of one raw frame.

    Parameters
    ----------
    doubt : Doubt or None
        What speaks against their being photon counts; offset and gain were not looked for.
    outlier : bool
        Whether one pixel is far brighter than what lies around it.
    """

    doubt: Doubt | None
    outlier: bool

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
        return cls(doubt_counts(photons, converted=detector is not None), has_outlier(photons))
