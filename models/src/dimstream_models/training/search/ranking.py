"""Runs in order of their total scores."""

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
    """A run with its score among the other runs."""

    trial: Trial
    run: Path
    outcome: Outcome | None
    """Outcome of this run; None: not finished."""
    score: Score | None
    """None: failed, or not finished."""

    @property
    def total(self) -> float:
        """Return the total score, or a value below all scores."""
        return WITHOUT_SCORE if self.score is None else self.score.total


def rank(runs: Sequence[tuple[Trial, Path, Outcome | None]]) -> tuple[Scored, ...]:
    """Score runs relative to each other, and return them best first, those without a score last."""
    scores = total_scores([outcome.figures if outcome else None for *_, outcome in runs])
    scored = [Scored(*run, score) for run, score in zip(runs, scores, strict=True)]
    return tuple(sorted(scored, key=lambda each: (-each.total, each.trial.number)))
