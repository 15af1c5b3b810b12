"""Movies that were followed, made by hand."""

from collections.abc import Sequence

from dimstream_models.judging import FlagDecision, FlagName, FrameMetrics
from dimstream_models.training.audit.auditing import AuditedMovie, PixelTally
from dimstream_models.training.audit.conditions import Condition
from dimstream_models.training.audit.judged_movies import FrameRecord, JudgedFrame
from dimstream_models.training.audit.simulated_movies import Physics


def make_record(
    seq: int, flag: FlagName = "ok", *, ssim: float = 0.8, structure_score: float = 20.0, p: float = 0.5
) -> FrameRecord:
    """A frame whose decision score is its SSIM."""
    metrics = FrameMetrics(
        not_comparable=None if seq else "first frame",
        ssim=ssim if seq else None,
        minimum=0,
        maximum=9,
        background=0.5,
        structure_score=structure_score,
    )
    outcome = JudgedFrame(FlagDecision(flag, None, p_signal=p, p_dark=p), None, ssim)
    return FrameRecord(
        seq=seq,
        metrics=metrics,
        shift=None,
        uncertain=0.25,
        signal=0.25,
        refused=None,
        outcome=outcome,
        alone=outcome,
    )


def make_movie(
    condition: Condition,
    records: Sequence[FrameRecord],
    *,
    physics: Physics = "simulator",
    changes_at: int | None = None,
    doses: Sequence[float] | None = None,
    pixels: PixelTally | None = None,
) -> AuditedMovie:
    return AuditedMovie(
        physics=physics,
        condition=condition,
        number=0,
        shape=(64, 64),
        doses=tuple(doses or [condition.dose] * len(records)),
        changes_at=changes_at,
        records=tuple(records),
        pixels=pixels or PixelTally(),
        with_split=PixelTally(),
        shown=None,
    )
