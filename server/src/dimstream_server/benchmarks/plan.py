"""How much is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from dimstream_server.benchmarks.memory import SAMPLES
from dimstream_server.benchmarks.routes import Counts

SHAPE: Final = (600, 600)
MEAN_COUNTS: Final = 2.0
SEED: Final = 0
FRAMES: Final = 320
LAP_FRAMES: Final = 16
SHIPPED_SHARE: Final = 4
"""The shipped network takes so much longer than an identity that it gets this part of the frames."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What one model goes through.

    Parameters
    ----------
    rounds, lap_frames : int
        Each route gets `rounds` laps of `lap_frames` frames.
    starts : int
        Times that its server is started.
    memory_frames : int
        Frames during which memory is watched; 0 for none.
    """

    rounds: int
    lap_frames: int
    starts: int
    memory_frames: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the two models go through.

    Parameters
    ----------
    flag_rounds, flag_frames : int
        Laps of the shipped model without flags, with them, with the split-photon check; frames of each.
    durability_rounds : int
        Laps of the identity without and with what keeps frames from being lost.
    viewing_rounds : mapping of str to int
        Laps of each model alone and watched.
    """

    identity: ModelPlan
    shipped: ModelPlan
    flag_rounds: int = 10
    flag_frames: int = 8
    durability_rounds: int = 40
    viewing_rounds: Mapping[str, int] = field(default_factory=lambda: {"identity": 40, "shipped": 10})


def make_plan(frames: int, *, quick: bool) -> Plan:
    """The plan for `frames` frames of the identity on each route; or as few as show that it runs."""
    if quick:
        identity = ModelPlan(2, 4, starts=1, memory_frames=2 * SAMPLES)
        return Plan(
            identity,
            ModelPlan(2, 4, starts=1),
            flag_rounds=1,
            flag_frames=2,
            durability_rounds=2,
            viewing_rounds={"shipped": 1},
        )
    return Plan(
        ModelPlan(_rounds(frames), LAP_FRAMES, starts=3, memory_frames=100 * SAMPLES),
        ModelPlan(_rounds(frames // SHIPPED_SHARE), LAP_FRAMES, starts=3),
    )


def make_frames(count: int) -> list[Counts]:
    """Seeded Poisson counts, (600, 600) uint16, each read-only."""
    frames = list(np.random.default_rng(SEED).poisson(MEAN_COUNTS, (count, *SHAPE)).astype(np.uint16))
    for frame in frames:
        frame.flags.writeable = False
    return frames


def _rounds(frames: int) -> int:
    return max(3, -(-frames // LAP_FRAMES))
