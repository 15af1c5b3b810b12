"""All that was measured of one frame, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.forecast import FramesLeft
from dimstream_models.quality.count_check import Doubt

LONG_INTERVAL: Final = 3.0
"""Times the calibration's frame interval."""

SAME_SIZE: Final = 1e-3
"""Relative: sizes that are told in rounded numbers are the same."""

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
    """All that was measured of one frame.

    Parameters
    ----------
    not_comparable : str or None
        Why there is no comparison with the frame before; then `ssim` and `ssim_aligned` are not looked at.
    ssim, ssim_aligned : float or None
        With the plane's previous prediction, as they lie and after `shift` (rows, columns; px) was taken out.
    correlation : float or None
        With the plane's previous prediction, of what is finer than their local mean
        (`quality.alignment.correlation_between`); None when nothing was compared, or frames are too small.
    minimum, maximum, background, structure_score : float
        Of the raw frame; `background` is the share of its pixels in that class.
    saturated : float
        Share of its pixels that are saturated.
    unsupported_fraction : float
        Share of its predicted signal that no photons support.
    split_ssim : float or None
        Of the predictions of both halves of its photons; None when they were not split.
    split_refused : str or None
        Why its photons were not split, where they should have been.
    doubt : Doubt or None
        What speaks against its values being photon counts.
    clipped : float
        Share of the denoised pixels that are at the largest value that they can have.
    outlier : bool
        Whether one pixel is far brighter than what lies around it.
    light : float
        Mean photons of a pixel of the raw frame.
    steps : int
        Time points since the frame that it was compared with.
    gap : str or None
        What is missing between this frame and the one that it was compared with, in words.
    frame_interval_s : float or None
        Seconds between both; None when unknown.
    pixel_size_nm : float or None
        Side of the pixels that the network was given; None when unknown.
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
        """The better SSIM of both; None when nothing was compared, or it is not a number."""
        known = [one for one in (self.ssim, self.ssim_aligned) if one is not None and math.isfinite(one)]
        return max(known) if known and self.not_comparable is None else None

    def is_alike(self, criteria: Criteria) -> bool:
        """Whether it was compared and its similarity is at least the threshold's."""
        similarity = self.similarity
        return criteria.ssim is not None and similarity is not None and similarity >= criteria.ssim

    def is_another(self, criteria: Criteria) -> bool:
        """Whether it was compared and shows other structures than the frame before."""
        if self.not_comparable is not None or self.correlation is None or criteria.correlation is None:
            return False
        return self.correlation < criteria.correlation

    def proves_nothing(self, criteria: Criteria) -> bool:
        """Whether it is unlike the frame before, with frames missing between: the sample may have moved on.

        Not where the time between both is known to be no longer than the calibration bears.
        """
        if self.gap is None or (self.is_alike(criteria) and not self.is_another(criteria)):
            return False
        known = self.frame_interval_s is not None and criteria.frame_interval_s is not None
        return self.is_slow(criteria) or not known

    def is_slow(self, criteria: Criteria) -> bool:
        """Whether frames come much farther apart than in the calibration: low SSIM may be motion then."""
        if self.frame_interval_s is None or criteria.frame_interval_s is None:
            return False
        return self.frame_interval_s > LONG_INTERVAL * criteria.frame_interval_s

    def has_strange_pixels(self, criteria: Criteria) -> bool:
        """Whether its pixels are known to be of another size than those that the model knows."""
        if self.pixel_size_nm is None or criteria.pixel_sizes_nm is None:
            return False
        smallest, largest = criteria.pixel_sizes_nm
        return not smallest * (1 - SAME_SIZE) <= self.pixel_size_nm <= largest * (1 + SAME_SIZE)


@dataclass(frozen=True)
class FlagDecision:
    """Flag of one frame; `reason` is None when it is "ok".

    Parameters
    ----------
    p_signal, p_dark : float or None
        Probability, by the bundle's calibration, that a movie of a sample is at most, and that an empty
        one is at least, as alike as this frame and the one before.
    notes : tuple of Note
        What else was seen.
    structure_seen : bool
        Whether the raw frame shows more than noise.
    left : FramesLeft or None
        How long the plane will last; None while it does not surely decline, and when it is suspect.
    """

    flag: FlagName
    reason: str | None
    p_signal: float | None = None
    p_dark: float | None = None
    notes: tuple[Note, ...] = ()
    structure_seen: bool = True
    left: FramesLeft | None = None
