"""The metrics of one frame, and the decision about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.forecast import FramesLeft
from dimstream_models.quality.count_check import Doubt

LONG_INTERVAL: Final = 3.0
"""Frames are slow when their interval is more than this many times the calibration's."""

SAME_SIZE: Final = 1e-3
"""Largest relative difference of pixel sizes that count as equal, because sizes may be rounded."""

FlagName = Literal["ok", "suspect", "unjudged"]
Note = Literal[
    "moved",
    "jump",
    "changing",
    "fixed_pattern",
    "unsupported",
    "saturated",
    "fading",
    "interval",
    "pixel_size",
    "not_photons",
    "doubtful_counts",
    "clipped",
    "outlier_pixel",
]


@dataclass(frozen=True, kw_only=True)
class FrameMetrics:
    """The metrics of one frame.

    Parameters
    ----------
    not_comparable : str or None
        Why it is not compared with the frame before; then `ssim` and `ssim_aligned` are ignored.
    ssim, ssim_aligned : float or None
        With the plane's previous prediction: without alignment, and aligned by `shift` (rows, columns;
        px).
    correlation : float or None
        With the plane's previous prediction, after the local mean is subtracted
        (`quality.alignment.correlation_between`). None when nothing was compared, or frames are too
        small.
    minimum, maximum, background, structure_score : float
        Of the raw frame; `background` is the share of background pixels.
    saturated : float
        Share of its saturated pixels.
    unsupported_fraction : float
        Share of its predicted signal that no photons support.
    split_ssim : float or None
        SSIM of the predictions of both halves of its photons; None when they were not split.
    split_refused : str or None
        Why its photons were not split although they should have been.
    doubt : Doubt or None
        Why its values are not photon counts.
    clipped : float
        Share of the denoised pixels that have the largest value possible.
    outlier : bool
        Whether a pixel is far brighter than its surroundings.
    light : float
        Mean photons per pixel of the raw frame.
    steps : int
        Time points since the frame with which it was compared.
    gap : str or None
        What is missing between this frame and the one with which it was compared, as text.
    frame_interval_s : float or None
        Seconds between both; None when unknown.
    pixel_size_nm : float or None
        Side of the pixels of the network's input; None when unknown.
    """

    not_comparable: str | None
    ssim: float | None = None
    ssim_aligned: float | None = None
    shift: tuple[int, int] = (0, 0)
    correlation: float | None = None
    minimum: float
    maximum: float
    background: float
    structure_score: float
    saturated: float = 0.0
    unsupported_fraction: float = 0.0
    split_ssim: float | None = None
    split_refused: str | None = None
    doubt: Doubt | None = None
    clipped: float = 0.0
    outlier: bool = False
    light: float = math.nan
    steps: int = 1
    gap: str | None = None
    frame_interval_s: float | None = None
    pixel_size_nm: float | None = None

    @property
    def similarity(self) -> float | None:
        """The larger SSIM of both; None when nothing was compared, or it is not a number."""
        known = [one for one in (self.ssim, self.ssim_aligned) if one is not None and math.isfinite(one)]
        return max(known) if known and self.not_comparable is None else None

    def is_alike(self, criteria: Criteria) -> bool:
        """Whether it was compared, and its similarity reaches the threshold."""
        similarity = self.similarity
        return criteria.ssim is not None and similarity is not None and similarity >= criteria.ssim

    def is_another(self, criteria: Criteria) -> bool:
        """Whether it was compared, and shows different structures than the frame before."""
        if self.not_comparable is not None or self.correlation is None or criteria.correlation is None:
            return False
        return self.correlation < criteria.correlation

    def proves_nothing(self, criteria: Criteria) -> bool:
        """Whether it differs from the frame before across a gap: the sample may have moved in between.

        False where the time between both is known to be short enough for the calibration.
        """
        if self.gap is None or (self.is_alike(criteria) and not self.is_another(criteria)):
            return False
        known = self.frame_interval_s is not None and criteria.frame_interval_s is not None
        return self.is_slow(criteria) or not known

    def is_slow(self, criteria: Criteria) -> bool:
        """Whether frames are much farther apart than in the calibration: then low SSIM may be due to
        motion."""
        if self.frame_interval_s is None or criteria.frame_interval_s is None:
            return False
        return self.frame_interval_s > LONG_INTERVAL * criteria.frame_interval_s

    def has_strange_pixels(self, criteria: Criteria) -> bool:
        """Whether its pixels are known to have a size that the model does not know."""
        if self.pixel_size_nm is None or criteria.pixel_sizes_nm is None:
            return False
        smallest, largest = criteria.pixel_sizes_nm
        return not smallest * (1 - SAME_SIZE) <= self.pixel_size_nm <= largest * (1 + SAME_SIZE)


@dataclass(frozen=True)
class FlagDecision:
    """The flag of one frame; `reason` is None when it is "ok".

    Parameters
    ----------
    p_signal, p_dark : float or None
        By the bundle's calibration: probability of at most this similarity in a movie of a sample, and of
        at least this similarity in an empty one.
    notes : tuple of Note
        Further observations.
    structure_seen : bool
        Whether the raw frame shows more than noise.
    left : FramesLeft or None
        How long the plane will last; None unless it certainly declines, and when it is suspect.
    """

    flag: FlagName
    reason: str | None
    p_signal: float | None = None
    p_dark: float | None = None
    notes: tuple[Note, ...] = ()
    structure_seen: bool = True
    left: FramesLeft | None = None
