"""What frames are judged by, and what a result says of its frame beside the flag. `docs/flags.md` explains
it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fractions", "QualityMetrics", "SplitResult", "Thresholds"]


@dataclass(frozen=True)
class Thresholds:
    """What makes a frame suspect, and a pixel background or signal. None: not judged, or in UPDATE:
    unchanged.

    Parameters
    ----------
    ssim : float or None
        SSIM with the frame before, below which a frame is suspect.
    background_max, signal_min : float or None
        A 10x10 window sum of at most the first is background, above the second it is signal, photons.
    structure_score : float or None
        Raw frames whose structure score is below it show no more than noise.
    split : float or None
        SSIM of the predictions of both halves of a frame's photons, below which it is suspect.
    """

    ssim: float | None = None
    background_max: float | None = None
    signal_min: float | None = None
    structure_score: float | None = None
    split: float | None = None


@dataclass(frozen=True)
class Fractions:
    """Fractions of the raw frame's pixels, together 1."""

    background: float
    uncertain: float
    signal: float


@dataclass(frozen=True)
class SplitResult:
    """What the split photons of a frame say.

    Parameters
    ----------
    t_ms : float
        What it took on top of the frame's inference, milliseconds.
    ssim : float or None
        Of the predictions of both halves; None when they were refused.
    refused : str or None
        Why the photons were not split.
    """

    t_ms: float
    ssim: float | None = None
    refused: str | None = None


@dataclass(frozen=True)
class QualityMetrics:
    """What speaks for and against a frame, beyond its flag; None where there is nothing to tell.

    Parameters
    ----------
    structure_score : float
        Of the raw frame, in standard errors above noise.
    unsupported_fraction : float
        Share of the predicted signal that no photons support.
    ssim_aligned, shift_px
        SSIM with the frame before after its motion (rows, columns) was taken out.
    correlation : float or None
        With the frame before, of what is finer than the local mean: near 1 for the same structures, near 0
        for other ones.
    ssim_z : float or None
        SSIM with the prediction of the plane above (z - 1) of the same time point.
    p_signal, p_dark : float or None
        Probability, by the model's calibration, of an SSIM at most this with a sample, and of one at least
        this without.
    suspect_since : int or None
        First frame of the plane's present run of suspect ones.
    notes : tuple of str
        What else was seen, such as "moved" or "saturated".
    split : SplitResult or None
        What the split photons say, of frames whose photons were split.
    """

    structure_score: float
    unsupported_fraction: float
    ssim_aligned: float | None = None
    correlation: float | None = None
    shift_px: tuple[int, int] | None = None
    ssim_z: float | None = None
    p_signal: float | None = None
    p_dark: float | None = None
    suspect_since: int | None = None
    notes: tuple[str, ...] = ()
    split: SplitResult | None = None
