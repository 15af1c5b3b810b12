"""What a pipeline measures of a frame while it denoises it."""

from __future__ import annotations

from typing import NamedTuple


class Measures(NamedTuple):
    """Figures of one frame, in the order in which the server's graph gives them.

    Parameters
    ----------
    ssim
        Of its normalised prediction with that of the plane's last frame; means nothing where there was none.
    background, uncertain, signal
        Shares of the raw frame's pixels by the photons in the window around them, see `quality.support_map`.
    minimum, maximum
        Photons, of the raw frame.
    at_maximum, near_maximum
        Shares of its pixels, see `quality.saturation.shares_at_maximum`.
    structure
        Of the raw frame, see `quality.structure.structure_score`.
    unsupported
        Share of the predicted signal that no photons support.
    prediction_mean
        Mean of the network's output; not finite where it holds nan or infinity.
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
