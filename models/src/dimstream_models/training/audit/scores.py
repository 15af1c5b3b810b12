"""The scores behind the flags; each is higher for frames that show a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dimstream_models.judging import FlagName
from dimstream_models.training.audit.auditing import AuditedMovie
from dimstream_models.training.audit.conditions import ENOUGH_PHOTONS
from dimstream_models.training.audit.intervals import Estimate, Scored, area
from dimstream_models.training.audit.judged_movies import FrameRecord

BELIEVED: Final[Mapping[FlagName, float]] = {"suspect": 0.0, "unjudged": 0.5, "ok": 1.0}


@dataclass(frozen=True)
class Score:
    """A score of a frame; None if the frame has none."""

    key: str
    title: str
    of: Callable[[FrameRecord], float | None]


MEASURED: Final = (
    Score("ssim", "SSIM with the frame before", lambda record: record.metrics.ssim),
    Score("best_ssim", "SSIM, aligned if that is better", lambda record: record.metrics.similarity),
    Score("structure_score", "structure of the raw frame", lambda record: record.metrics.structure_score),
    Score("split_ssim", "SSIM of both halves of the photons", lambda record: record.metrics.split_ssim),
    Score("signal_share", "share of signal pixels", lambda record: record.signal),
)
"""The measured scores of a frame."""
SCORES: Final = (
    *MEASURED,
    Score("decision_alone", "decision, no split check", lambda record: record.alone.margin),
    Score("flag_alone", "flag, no split check", lambda record: BELIEVED[record.alone.decision.flag]),
    Score("decision", "decision, with the split-photon check", lambda record: record.outcome.margin),
    Score("flag", "flag, with the split-photon check", lambda record: BELIEVED[record.outcome.decision.flag]),
)


@dataclass(frozen=True)
class AreaRow:
    """Area under the ROC curve of one score, over all conditions, or for one condition against all of the
    other kind."""

    score: str
    condition: str | None
    estimate: Estimate


def signal_frames(movie: AuditedMovie) -> list[FrameRecord]:
    """Return the frames, except the first, that show a sample with enough photons."""
    if movie.condition.kind != "signal":
        return []
    return [
        record
        for record, dose in zip(movie.records[1:], movie.doses[1:], strict=True)
        if dose >= ENOUGH_PHOTONS
    ]


def empty_frames(movie: AuditedMovie) -> list[FrameRecord]:
    """Return the frames, except the first, of a field without a sample."""
    return list(movie.records[1:]) if movie.condition.kind == "empty" else []


def values(score: Score, records: Iterable[FrameRecord]) -> list[float]:
    """Return a score of all frames that have it."""
    return [value for record in records if (value := score.of(record)) is not None]


def areas(movies: Sequence[AuditedMovie], *, seed: int) -> list[AreaRow]:
    """Return the areas of all scores, over all conditions and for each condition."""
    rows = []
    for score in SCORES:
        signal = [(movie.condition.name, _scored(score, movie, signal_frames(movie))) for movie in movies]
        empty = [(movie.condition.name, _scored(score, movie, empty_frames(movie))) for movie in movies]
        every = [each for _, each in signal], [each for _, each in empty]
        rows.append(AreaRow(score.key, None, area(*every, seed=seed)))
        for name in _with_frames(signal):
            own = [each for condition, each in signal if condition == name]
            rows.append(AreaRow(score.key, name, area(own, every[1], seed=seed)))
        for name in _with_frames(empty):
            own = [each for condition, each in empty if condition == name]
            rows.append(AreaRow(score.key, name, area(every[0], own, seed=seed)))
    return rows


def curve(positive: Sequence[float], negative: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the shares of `negative` and of `positive` that score at least each value, from 0 to 1."""
    cuts = np.unique([*positive, *negative])[::-1]
    shares = []
    for each in (negative, positive):
        order = np.sort(each)
        shares.append([0.0, *(1 - np.searchsorted(order, cuts, "left") / len(order)).tolist()])
    return shares[0], shares[1]


def _scored(score: Score, movie: AuditedMovie, records: Sequence[FrameRecord]) -> Scored:
    return Scored(movie.physics, np.asarray(values(score, records), np.float64))


def _with_frames(scored: Sequence[tuple[str, Scored]]) -> list[str]:
    return list(dict.fromkeys(name for name, each in scored if len(each.scores)))
