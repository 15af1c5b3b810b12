"""The rules of the flag: the first that applies, the surest first."""

from __future__ import annotations

from typing import Final

from dimstream_models.judging.criteria import Criteria
from dimstream_models.judging.evidence import Evidence, FlagName
from dimstream_models.judging.memory import PlaneMemory

SATURATED_MAX: Final = 0.01
"""Share of saturated pixels, raw or denoised, above which a frame is suspect."""

Verdict = tuple[FlagName, str | None]


def verdict_on(evidence: Evidence, criteria: Criteria, memory: PlaneMemory, *, vouched: bool) -> Verdict:
    """Flag of a frame and the reason for it; None for "ok".

    What is no photon counts, or was to be split and could not be, is never "ok", and the reason says so.

    Parameters
    ----------
    memory : PlaneMemory
        Brought up to this frame.
    vouched : bool
        Whether the halves of its photons, or of those of a frame shortly before, agreed.
    """
    flag, reason = _from_evidence(evidence, criteria, memory, vouched=vouched)
    objections = memory.counts.objections()
    if not objections:
        return flag, reason
    reasons = [*([] if reason is None else [reason]), *objections]
    return "unjudged" if flag == "ok" else flag, "; ".join(reasons)


def _from_evidence(evidence: Evidence, criteria: Criteria, memory: PlaneMemory, *, vouched: bool) -> Verdict:
    """What the frame and its neighbour say, were its values photon counts."""
    if evidence.minimum == evidence.maximum:
        return "suspect", f"blank frame: every pixel is {evidence.minimum:g}"
    if criteria.ssim is None:
        return "unjudged", evidence.obstacle or "no SSIM threshold in the bundle"
    if evidence.background >= 1:
        return "suspect", f"no signal: no window holds more than {criteria.background_max:g} photons"
    if memory.empty:
        return "suspect", _why_empty(evidence, criteria, memory)
    if evidence.saturated > SATURATED_MAX:
        return "suspect", f"saturated: {evidence.saturated:.1%} of the pixels are at {evidence.maximum:g}"
    if evidence.clipped > SATURATED_MAX:
        return "suspect", (
            f"clipped: {evidence.clipped:.1%} of the denoised pixels are at the largest value that they can"
            " have"
        )
    if evidence.split_ssim is not None and criteria.split is not None and not vouched:
        halves = _below(evidence.split_ssim, criteria.split)
        return "suspect", f"the two halves of its photons disagree: SSIM {halves}"
    if vouched and (evidence.split_ssim is not None or evidence.obstacle is None):
        return "ok", None
    return _compared(evidence, criteria.ssim, criteria, memory)


def _compared(evidence: Evidence, least: float, criteria: Criteria, memory: PlaneMemory) -> Verdict:
    """What the comparison with the frame before says of a frame that shows structure."""
    if evidence.obstacle is not None:
        return "unjudged", evidence.obstacle
    if memory.returned:
        return "unjudged", "the frame before showed no structure"
    similarity = evidence.similarity
    if similarity is None:
        return "unjudged", "SSIM is not a number"
    unlike = _why_unlike(evidence, similarity, least, criteria)
    if evidence.proves_nothing(criteria):
        return "unjudged", f"{evidence.gap}; {unlike}, which may be motion"
    if memory.doubted and evidence.is_slow(criteria):
        return "unjudged", (
            f"frames {evidence.frame_interval_s:g} s apart, the threshold is for"
            f" {criteria.frame_interval_s:g} s: SSIM {similarity:.2f} may be motion"
        )
    if memory.doubted and unlike is not None:
        return "suspect", unlike
    if memory.doubted:
        return "suspect", (
            f"SSIM {memory.similarity:.2f}, the median of {memory.compared} frames, not yet above"
            f" {criteria.ssim_recovered:.2f}"
        )
    if unlike is not None:
        return "unjudged", f"jump: {unlike} for this frame alone"
    return "ok", None


def _why_unlike(evidence: Evidence, similarity: float, least: float, criteria: Criteria) -> str | None:
    """Why a frame does not show what the frame before shows; None when it does."""
    if similarity < least:
        return f"SSIM {_below(similarity, least)}"
    found, needed = evidence.correlation, criteria.correlation
    if found is None or needed is None or found >= needed:
        return None
    return f"other structures than the frame before: correlation {_below(found, needed)}"


def _why_empty(evidence: Evidence, criteria: Criteria, memory: PlaneMemory) -> str:
    recovering = evidence.structure >= criteria.structure
    least = memory.least_structure(criteria) if recovering else criteria.structure
    reason = f"no structure: score {evidence.structure:.1f} below {least:g}, as noise alone has"
    if not evidence.is_alike(criteria):
        return reason
    similarity = f"SSIM {evidence.similarity:.2f}"
    return f"{reason}; predictions are alike ({similarity}) by a fixed pattern or stray light"


def _below(value: float, threshold: float) -> str:
    digits = 2 if round(value, 2) != round(threshold, 2) else 5
    return f"{value:.{digits}f} below {threshold:.{digits}f}"
