"""The figures that a pipeline measures while it denoises a frame."""

from __future__ import annotations

from typing import NamedTuple


class Measures(NamedTuple):
    """Figures of one frame, in the order of the server's graph.

    Parameters
    ----------
    ssim
        Of its normalised prediction and the plane's last one; meaningless where there was none.
    background, uncertain, signal
        Shares of the raw frame's pixels in each class, 0 to 1, see `quality.support_map`.
    minimum, maximum
        Photons, of the raw frame.
    at_maximum, near_maximum
        Shares of its pixels, 0 to 1, see `quality.saturation.shares_at_maximum`.
    structure
        Structure score of the raw frame, see `quality.structure.structure_score`.
    unsupported
        Share of the predicted signal that no photons support, 0 to 1.
    prediction_mean
        Mean of the network's output; nan or infinite where the output contains such values.
    """

    ssim: float
    background: float
    uncertain: float
    signal: float
    minimum: float
    maximum: float
    at_maximum: float
    near_maximum: float
    structure_score: float
    unsupported_fraction: float
    prediction_mean: float
