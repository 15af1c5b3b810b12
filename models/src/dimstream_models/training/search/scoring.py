"""The total score: three figures, each scaled over the runs that succeeded, and their mean."""

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
    """Score each run among all runs; None, a run that failed, takes no part and has no score.

    A figure in which all runs agree gives each of them 1. A run without a resolution (decorrelation finds
    no structure in most of its predictions) is given 0 for it, the worst, and leaves the scaling of the
    other runs' resolutions alone: whatever number stood for it would squeeze the differences between them.

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
    """Return the line through (worst, 0) and (best, 1), where more is better."""
    worst, best = min(values, default=0.0), max(values, default=0.0)
    return lambda value: 1.0 if best == worst else (value - worst) / (best - worst)
