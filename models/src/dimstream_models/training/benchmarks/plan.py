"""The size of the benchmark, and its settings; median and quartiles of repeated measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from dimstream_models.training.settings import NetworkSettings, Precision, Recipe


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of `n` values."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Return median and quartiles of at least one value."""
        low, median, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
        return cls(median, low, high, len(values))


SIDE_PX: Final = 600
SEED: Final = 0
LIGHT: Final = NetworkSettings()
PUBLISHED: Final = NetworkSettings(
    filters=(64, 128, 256), filters_cab=4, num_rg=3, num_cab=8, kernel=7, dropout=0.2
)
MIXED: Final[tuple[Precision, ...]] = ("bfloat16", "float16")


@dataclass(frozen=True)
class Steps:
    """Training steps of the benchmark: a network, the side of patches, and patches per step."""

    network: NetworkSettings
    patch_px: int
    batch: int


@dataclass(frozen=True)
class Plan:
    """Size of one run of the benchmark.

    Parameters
    ----------
    loading : Steps
        Steps for the comparison of the loader with one batch in memory.
    rounds, lap_steps : int
        Rounds, and timed steps of each kind in a round.
    memory : Steps
        Steps for the measurement of memory.
    fields, side_px : int
        Prepared fields of view, square.
    memory_steps : int
        Steps before the rest of the epoch is only loaded.
    figure_repeats : int
        Repetitions of each image metric.
    arithmetic : Steps or None
        Steps on a GPU in each precision; None: not measured.
    """

    loading: Steps
    rounds: int
    lap_steps: int
    memory: Steps
    fields: int
    side_px: int
    memory_steps: int
    figure_repeats: int
    arithmetic: Steps | None


def make_plan(*, gpu: bool, quick: bool) -> Plan:
    """Return the plan for a CPU or a GPU, or a quick one that only checks that the benchmark runs."""
    if quick:
        tiny = Steps(NetworkSettings(filters=(2, 3), filters_cab=2, num_rg=1, num_cab=1), 32, 2)
        return Plan(tiny, 2, 2, tiny, 3, 96, 2, 1, tiny if gpu else None)
    return Plan(
        # the paper's batch for its patches of 128 px, or as much as two CPU cores train on in an hour
        loading=Steps(PUBLISHED, 128, 36) if gpu else Steps(LIGHT, 128, 8),
        rounds=8,
        lap_steps=5,
        memory=Steps(LIGHT, 304, 6),
        fields=441,  # with four patches of 304 px each: the paper's 1,764
        side_px=SIDE_PX,
        memory_steps=3,
        figure_repeats=5,
        arithmetic=Steps(PUBLISHED, 304, 6) if gpu else None,  # the paper's largest
    )


def recipe_of(steps: Steps, prepared: Path, *, precision: Precision = "float32") -> Recipe:
    """Return a recipe with such steps on prepared pairs."""
    return Recipe.model_validate(
        {
            "seed": SEED,
            "pairs": {"prepared": prepared},
            "network": steps.network.model_dump(),
            "fit": {"patch_px": steps.patch_px, "batch": steps.batch, "precision": precision},
            "bundle": {"id": "bench", "name": "bench", "description": "Never exported."},
        }
    )
