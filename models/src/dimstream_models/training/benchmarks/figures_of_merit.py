"""What the two costly figures of merit take per image."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from dimstream_models.training.benchmarks.plan import SEED, Plan
from dimstream_models.training.benchmarks.quartiles import Spread
from dimstream_models.training.metrics.decorrelation import decorrelation
from dimstream_models.training.metrics.rolling_frc import rolling_frc

SKIP_PX: Final = 4


@dataclass(frozen=True)
class FigureTimes:
    """Processor seconds per image, all threads together: what one core alone would need."""

    decorrelation_s: Spread
    rolling_frc_s: Spread


def measure_figures_of_merit(plan: Plan) -> FigureTimes:
    """Return the times of a decorrelation analysis and of an rFRC map that has no background to skip."""
    rng = np.random.default_rng(SEED)
    first, second = rng.poisson(30.0, (2, plan.side_px, plan.side_px)).astype(np.uint16)
    return FigureTimes(
        Spread.of(_times(lambda: decorrelation(first), plan.figure_repeats)),
        Spread.of(_times(lambda: rolling_frc(first, second, skip=SKIP_PX), plan.figure_repeats)),
    )


def _times(take: Callable[[], object], repeats: int) -> list[float]:
    take()  # what is worked out once stays out of it
    times = []
    for _ in range(repeats):
        start = time.process_time()
        take()
        times.append(time.process_time() - start)
    return times
