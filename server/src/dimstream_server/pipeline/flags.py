"""Whether a prediction can be believed: the flag of a frame and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FlagName = Literal["ok", "suspect", "unjudged"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a stream's frames are judged by.

    Parameters
    ----------
    ssim : float or None
        Below this SSIM with the plane's previous prediction a frame is suspect; None: never judged.
    background_max, signal_min : float
        Photon counts in a window: at most `background_max` is background, above `signal_min` is signal.
    """

    ssim: float | None
    background_max: float = 5.0
    signal_min: float = 25.0
