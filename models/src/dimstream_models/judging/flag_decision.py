"""The rules of the flag, in order of certainty: the first rule that applies decides."""

from __future__ import annotations

from typing import Final

from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.frame_metrics import FlagName, FrameMetrics
from dimstream_models.judging.plane_history import PlaneHistory

SATURATED_MAX: Final = 0.01
"""Share of saturated pixels, raw or denoised, above which a frame is suspect."""
UNSUPPORTED_MAX: Final = 0.8
"""Share of unsupported predicted signal above which a frame is suspect. Frames with 0.1 photons per pixel on
tubules have up to 0.35."""

FlagAndReason = tuple[FlagName, str | None]


def decide_flag(
    metrics: FrameMetrics, criteria: Criteria, history: PlaneHistory, *, confirmed: bool
) -> FlagAndReason:
    """Return the flag of a frame and its reason; the reason is None for "ok".

    A frame is never "ok" when its values are not photon counts, or when they should have been split but could
    not be. The reason says so.

    Parameters
    ----------
    history : PlaneHistory
        History of the plane, this frame included.
    confirmed : bool
        Whether the halves of its photons, or those of a frame shortly before, agreed.
    """
    flag, reason = _flag_of_photons(metrics, criteria, history, confirmed=confirmed)
    objections = history.counts.objections()
    if not objections:
        return flag, reason
    reasons = [*([] if reason is None else [reason]), *objections]
    return "unjudged" if flag == "ok" else flag, "; ".join(reasons)


def _flag_of_photons(
    metrics: FrameMetrics, criteria: Criteria, history: PlaneHistory, *, confirmed: bool
) -> FlagAndReason:
    """Flag and reason on the assumption that the values are photon counts."""
    if metrics.minimum == metrics.maximum:
        return "suspect", f"blank frame: every pixel is {metrics.minimum:g}"
    if criteria.ssim is None:
        return "unjudged", metrics.not_comparable or criteria.why_no_threshold
    if metrics.background >= 1:
        return "suspect", f"no signal: no window holds more than {criteria.background_max:g} photons"
    if history.no_structure:
        return "suspect", _why_no_structure(metrics, criteria, history)
    if metrics.saturated > SATURATED_MAX:
        return "suspect", f"saturated: {metrics.saturated:.1%} of the pixels are at {metrics.maximum:g}"
    if metrics.clipped > SATURATED_MAX:
        return "suspect", (
            f"clipped: {metrics.clipped:.1%} of the denoised pixels are at the largest value that they can"
            " have"
        )
    # the support map is meaningless for values that are not photon counts
    if metrics.unsupported_fraction > UNSUPPORTED_MAX and history.counts.not_photons is None:
        return "suspect", f"no photons support {metrics.unsupported_fraction:.0%} of the predicted signal"
    if metrics.split_ssim is not None and criteria.split is not None and not confirmed:
        halves = _below(metrics.split_ssim, criteria.split)
        return "suspect", f"the two halves of its photons disagree: SSIM {halves}"
    if confirmed and (metrics.split_ssim is not None or metrics.not_comparable is None):
        return "ok", None
    return _compared(metrics, criteria.ssim, criteria, history)


def _compared(
    metrics: FrameMetrics, least: float, criteria: Criteria, history: PlaneHistory
) -> FlagAndReason:
    """Flag and reason of a frame with structure, from the comparison with the frame before."""
    if metrics.not_comparable is not None:
        return "unjudged", metrics.not_comparable
    if history.reappeared:
        return "unjudged", "the frame before showed no structure"
    similarity = metrics.similarity
    if similarity is None:
        return "unjudged", "SSIM is not a number"
    unlike = _why_unlike(metrics, similarity, least, criteria)
    if metrics.proves_nothing(criteria):
        return "unjudged", f"{metrics.gap}; {unlike}, which may be motion"
    if history.low_similarity and metrics.is_slow(criteria):
        return "unjudged", (
            f"frames {metrics.frame_interval_s:g} s apart, the threshold is for"
            f" {criteria.frame_interval_s:g} s: SSIM {similarity:.2f} may be motion"
        )
    if history.low_similarity and unlike is not None:
        return "suspect", unlike
    if history.low_similarity:
        return "suspect", (
            f"SSIM {history.similarity:.2f}, the median of {history.compared} frames, not yet above"
            f" {criteria.ssim_recovered:.2f}"
        )
    if unlike is not None:
        return "unjudged", f"jump: {unlike} for this frame alone"
    return "ok", None


def _why_unlike(metrics: FrameMetrics, similarity: float, least: float, criteria: Criteria) -> str | None:
    """Why a frame does not show the same structures as the frame before; None when it does."""
    if similarity < least:
        return f"SSIM {_below(similarity, least)}"
    found, needed = metrics.correlation, criteria.correlation
    if found is None or needed is None or found >= needed:
        return None
    return f"other structures than the frame before: correlation {_below(found, needed)}"


def _why_no_structure(metrics: FrameMetrics, criteria: Criteria, history: PlaneHistory) -> str:
    recovering = metrics.structure_score >= criteria.structure_score
    least = history.least_structure(criteria) if recovering else criteria.structure_score
    reason = f"no structure: score {metrics.structure_score:.1f} below {least:g}, as noise alone has"
    if not metrics.is_alike(criteria):
        return reason
    similarity = f"SSIM {metrics.similarity:.2f}"
    return f"{reason}; predictions are alike ({similarity}) by a fixed pattern or stray light"


def _below(value: float, threshold: float) -> str:
    digits = 2 if round(value, 2) != round(threshold, 2) else 5
    return f"{value:.{digits}f} below {threshold:.{digits}f}"
