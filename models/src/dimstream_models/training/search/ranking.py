"""Runs in the order of their total scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dimstream_models.training.search.outcomes import Outcome
from dimstream_models.training.search.scoring import Score, total_scores
from dimstream_models.training.search.study import Trial

WITHOUT_SCORE = -1.0


@dataclass(frozen=True)
class Scored:
    """A run with its score among its like."""

    trial: Trial
    run: Path
    outcome: Outcome | None
    """Of this run; None: not finished."""
    score: Score | None
    """None: failed, or not finished."""

    @property
    def total(self) -> float:
        """Return the total score, or what sorts below all of them."""
        return WITHOUT_SCORE if self.score is None else self.score.total


def rank(runs: Sequence[tuple[Trial, Path, Outcome | None]]) -> tuple[Scored, ...]:
    """Score runs among themselves and return them best first, those without a score last."""
    scores = total_scores([outcome.figures if outcome else None for *_, outcome in runs])
    scored = [Scored(*run, score) for run, score in zip(runs, scores, strict=True)]
    return tuple(sorted(scored, key=lambda each: (-each.total, each.trial.number)))
