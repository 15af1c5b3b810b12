"""Conversion of a detector's values to photons: the offset is subtracted, the rest divided by the gain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dimstream_models.arithmetic import Array, Float32


@dataclass(frozen=True)
class Detector:
    """What a detector's values mean: photons = (value - offset) / gain.

    Parameters
    ----------
    offset : float
        Value without light, detector units.
    gain : float
        Detector units per photon, above 0.
    """

    offset: float = 0.0
    gain: float = 1.0

    @classmethod
    def given(cls, offset: float | None, gain: float | None) -> Detector | None:
        """Return the detector, with offset 0 or gain 1 where one is None; None when both are: the values are
        photons."""
        if offset is None and gain is None:
            return None
        return cls(0.0 if offset is None else offset, 1.0 if gain is None else gain)

    def photons(self, values: Array) -> Float32:
        """Return the photons of a frame (H, W), float32.

        Noise makes some of them negative. They are kept, because clipping them would make dark areas
        brighter.
        """
        above = np.subtract(values, np.float32(self.offset), dtype=np.float32)
        return np.divide(above, np.float32(self.gain), out=above)
