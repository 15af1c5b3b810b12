"""Whether loading data delays the network: steps from the loader compared with steps on one batch in
memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count, repeat

import torch

from dimstream_models.training.benchmarks.plan import Plan, Spread, recipe_of
from dimstream_models.training.fitting.batches import AHEAD, Batch, batches
from dimstream_models.training.fitting.learner import Learner
from dimstream_models.training.pairs.patches import PatchSource
from dimstream_models.training.pairs.prepared import Prepared
from dimstream_models.training.settings import Recipe


@dataclass(frozen=True)
class LoadingFigures:
    """Steps per second of both, their ratio within each round, and the share of waiting time.

    Parameters
    ----------
    loaded_steps_per_s, held_steps_per_s : Spread
        With the loader, and with one batch in memory.
    ratio : Spread
        The first divided by the second, within a round.
    waited_share : Spread
        Share of the time with the loader that is spent waiting for a batch. Other work on the machine makes
        the ratio uncertain, but not this.
    """

    loaded_steps_per_s: Spread
    held_steps_per_s: Spread
    ratio: Spread
    waited_share: Spread


def measure_loading(
    prepared: Prepared, plan: Plan, device: torch.device, on_step: Callable[[], object]
) -> LoadingFigures:
    """Return the speed of steps from the loader and from memory, alternating in rounds.

    Parameters
    ----------
    prepared : Prepared
        Fields with low and high dose.
    plan : Plan
        Settings, number and length of measurements.
    device : torch.device
        Device of the steps.
    on_step : callable
        Called after each step.
    """
    recipe = recipe_of(plan.loading, prepared.folder)
    source = open_source(recipe, prepared)
    learner = Learner(recipe, device=device, dose_ratio=prepared.dose_ratio())
    one = source.batch(0).to(device)
    steps = count()

    def take(batch: Batch) -> None:
        learner.step(batch, next(steps), 1e-4)
        on_step()

    laps: dict[str, list[_Lap]] = {"loaded": [], "held": []}
    end = plan.rounds * (plan.lap_steps + AHEAD)
    with closing(batches(source, 0, end, device=device)) as upcoming:
        routes = {"loaded": upcoming, "held": repeat(one)}
        for turn in range(plan.rounds):
            for route in sorted(
                routes, reverse=bool(turn % 2)
            ):  # so that a drift of the machine's speed favours neither
                laps[route].append(_lap(routes[route], plan.lap_steps, take, device))
    pairs = zip(laps["loaded"], laps["held"], strict=True)
    return LoadingFigures(
        Spread.of([plan.lap_steps / lap.seconds for lap in laps["loaded"]]),
        Spread.of([plan.lap_steps / lap.seconds for lap in laps["held"]]),
        Spread.of([held.seconds / loaded.seconds for loaded, held in pairs]),
        Spread.of([lap.waited / lap.seconds for lap in laps["loaded"]]),
    )


def open_source(recipe: Recipe, prepared: Prepared) -> PatchSource:
    """Return the loader of `fit`."""
    assert recipe.pairs is not None
    assert isinstance(recipe.fit.batch, int)
    return PatchSource(
        prepared,
        "training",
        recipe.pairs,
        batch=recipe.fit.batch,
        patch_px=recipe.fit.patch_px,
        seed=recipe.seed,
    )


@dataclass(frozen=True)
class _Lap:
    seconds: float
    waited: float  # for batches


def _lap(upcoming: Iterator[Batch], steps: int, take: Callable[[Batch], None], device: torch.device) -> _Lap:
    """Take timed steps, after untimed ones on the batches that are already waiting."""
    for _ in range(AHEAD):
        take(next(upcoming))
    wait(device)
    waited, start = 0.0, time.perf_counter()
    for _ in range(steps):
        asked = time.perf_counter()
        batch = next(upcoming)
        waited += time.perf_counter() - asked
        take(batch)
    wait(device)
    return _Lap(time.perf_counter() - start, waited)


def wait(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
