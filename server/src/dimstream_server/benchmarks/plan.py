"""How much is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from dimstream_server.benchmarks.memory import SAMPLES
from dimstream_server.benchmarks.routes import Counts
from dimstream_server.settings import LiveTable

SHAPE: Final = (600, 600)
MEAN_COUNTS: Final = 2.0
SEED: Final = 0
FRAMES: Final = 160
LAP_FRAMES: Final = 16
SHIPPED_LAP_FRAMES: Final = 8
MEMORY_FRAMES: Final = 12
"""Frames during which memory is watched, for each frame of the identity on a route."""
SHIPPED_SHARE: Final = 5
"""The shipped network takes so much longer than an identity that it gets this part of the frames."""
PARTS: Final = (
    "routes",
    "memory",
    "durability",
    "viewers",
    "following",
    "flags",
    "devices",
    "batch",
    "gateway",
)


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """What one model goes through.

    Parameters
    ----------
    rounds, lap_frames : int
        Each route gets `rounds` laps of `lap_frames` frames.
    starts : int
        Times that its server is started.
    warm_up_frames : int
        Frames that its server gets before anything is timed.
    checksums : bool
        Whether the routes with checksums are among them.
    """

    rounds: int
    lap_frames: int
    starts: int
    warm_up_frames: int = 0
    checksums: bool = True


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """What each device goes through with the shipped model.

    Parameters
    ----------
    rounds, lap_frames : int
        Each device gets `rounds` laps of `lap_frames` frames.
    shape : (int, int)
        Of the frames.
    matrix_side, products : int
        Its peak is the fastest of so many products of square matrices of this side, in each round.
    """

    rounds: int
    lap_frames: int
    shape: tuple[int, int] = SHAPE
    matrix_side: int = 1024
    products: int = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What the two models go through.

    Parameters
    ----------
    memory_frames : int
        Frames of the identity during which memory is watched.
    flag_rounds, flag_frames : int
        Laps of the shipped model without flags, with them, with the split-photon check; frames of each.
    durability_rounds : int
        Laps of the identity without and with what keeps frames from being lost.
    batch_rounds : int
        Laps of batch work, and of the loop of ``session.run``.
    viewing_rounds : mapping of str to int
        Laps of each model alone and watched.
    gateway_rounds : int
        Laps of the identity straight to a server, and through a gateway.
    following_rounds : int
        Laps of the shipped model whose frames nobody analyses, and of each whose frames are.
    segmenters : tuple of str
        By which they are.
    """

    identity: ModelPlan
    shipped: ModelPlan
    memory_frames: int
    flag_rounds: int
    flag_frames: int
    durability_rounds: int
    viewing_rounds: Mapping[str, int]
    devices: DevicePlan
    batch_rounds: int
    gateway_rounds: int
    following_rounds: int
    segmenters: tuple[str, ...]


def make_plan(frames: int, *, quick: bool) -> Plan:
    """The plan for `frames` frames of the identity on each route; or as few as show that it runs.

    Everything grows with `frames`: with 160 memory is watched over 1,900, with 850 over 10,200.
    """
    if quick:
        return Plan(
            ModelPlan(2, 4, starts=1),
            ModelPlan(2, 4, starts=1, checksums=False),
            memory_frames=SAMPLES,
            flag_rounds=1,
            flag_frames=2,
            durability_rounds=1,
            viewing_rounds={"shipped": 1},
            devices=DevicePlan(2, 1, shape=(64, 72), matrix_side=64, products=1),
            batch_rounds=1,
            gateway_rounds=1,
            following_rounds=1,
            segmenters=("classical",),
        )
    rounds = _rounds(frames, LAP_FRAMES)
    shipped_rounds = _rounds(frames // SHIPPED_SHARE, SHIPPED_LAP_FRAMES)
    memory_frames = max(2, MEMORY_FRAMES * frames // SAMPLES) * SAMPLES
    return Plan(
        ModelPlan(rounds, LAP_FRAMES, starts=3, warm_up_frames=_frames_until_settled()),
        ModelPlan(shipped_rounds, SHIPPED_LAP_FRAMES, starts=3, checksums=False),
        memory_frames=memory_frames,
        flag_rounds=shipped_rounds,
        flag_frames=4,
        durability_rounds=rounds,
        viewing_rounds={"identity": rounds, "shipped": max(3, shipped_rounds // 2)},
        devices=DevicePlan(shipped_rounds, 2),
        batch_rounds=shipped_rounds,
        gateway_rounds=rounds,
        following_rounds=max(2, shipped_rounds // 3),
        segmenters=("classical", "network"),
    )


def make_frames(count: int) -> list[Counts]:
    """Seeded Poisson counts, (600, 600) uint16, each read-only."""
    frames = list(np.random.default_rng(SEED).poisson(MEAN_COUNTS, (count, *SHAPE)).astype(np.uint16))
    for frame in frames:
        frame.flags.writeable = False
    return frames


def _frames_until_settled() -> int:
    """Frames until the live view holds as many as it may, so that a server takes no more memory."""
    height, width = SHAPE
    raw_and_denoised = 2 * 2 * height * width
    return -(-LiveTable().memory_bytes // raw_and_denoised) + LAP_FRAMES


def _rounds(frames: int, lap_frames: int) -> int:
    return max(3, -(-frames // lap_frames))
