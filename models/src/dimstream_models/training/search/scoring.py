"""The total score: three figures, each scaled over the successful runs, and their mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dimstream_models.training.search.outcomes import Figures


@dataclass(frozen=True)
class Score:
    """Each figure from 0 (worst of the runs) to 1 (best of the runs), and their mean."""

    ssim: float
    mae: float
    resolution: float

    @property
    def total(self) -> float:
        """Return the total score."""
        return (self.ssim + self.mae + self.resolution) / 3


def total_scores(runs: Sequence[Figures | None]) -> list[Score | None]:
    """Return the score of each run relative to all runs; a failed run (None) is ignored and has no score.

    If all runs have the same figure, each gets 1 for it. A run without a resolution (decorrelation finds no
    structure in most of its predictions) gets 0, the worst. It does not affect the scaling of the other runs'
    resolutions, because any number for it would reduce the differences between them.

    Source: the paper's Methods, "Network training" (scores linearly transformed to 0-1 across all runs,
    summed, divided by three).
    """
    done = [run for run in runs if run is not None]
    resolved = [run.resolution_px for run in done if run.resolution_px is not None]
    ssim = _scale([run.ssim for run in done])
    mae = _scale([-run.mae for run in done])
    resolution = _scale([-value for value in resolved])

    def score(run: Figures) -> Score:
        found = 0.0 if run.resolution_px is None else resolution(-run.resolution_px)
        return Score(ssim=ssim(run.ssim), mae=mae(-run.mae), resolution=found)

    return [None if run is None else score(run) for run in runs]


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    """Return the line through (worst, 0) and (best, 1), where higher values are better."""
    worst, best = min(values, default=0.0), max(values, default=0.0)
    return lambda value: 1.0 if best == worst else (value - worst) / (best - worst)
