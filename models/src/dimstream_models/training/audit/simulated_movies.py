"""Simulated movies with their exact truth, from two independent simulated microscopes.

`simulator` is the one on which models are trained, with scenes that were not used for training; `other` is
:mod:`independent_simulator`. The same seed, physics, condition and number always give the same movie.

This module also adds artefacts of detectors and illumination.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.audit.conditions import CONDITIONS, Blemish, Condition
from dimstream_models.training.audit.independent_simulator import (
    DEAD_TIME,
    OtherScene,
    count_with_dead_time,
    dark_map,
)
from dimstream_models.training.settings import SimulationSettings
from dimstream_models.training.simulation.training_samples import draw_er

Floats = NDArray[np.float64]
Counts = NDArray[np.uint16]

RAMP: Final = (0.2, 1.8)
"""Background at both ends of the field, relative to its mean."""
VIGNETTED: Final = 0.8
"""Share of the light that is lost in the corners."""
HOT_SHARE: Final = 0.002
HOT_COUNTS: Final = (1.0, 30.0)
"""Counts of a hot pixel in a frame, log-uniform."""
PATTERN: Final = 0.5
"""Standard deviation of the logarithm of a pixel's sensitivity."""
FLICKER: Final = 0.3
"""The same for a row's brightness, drawn anew in each frame."""
AFTER_PULSES: Final = 0.15
"""Probability that a count causes another one in the next pixel along the fast axis; for avalanche
photodiodes, it is a few percent."""


@dataclass(frozen=True, eq=False)
class Blemished:
    """One detector with its artefact, which is the same in all frames of a movie.

    Parameters
    ----------
    background : ndarray
        (H, W), expected counts without a sample.
    """

    blemish: Blemish
    background: Floats

    def expected(self, light: Floats, rng: np.random.Generator) -> Floats:
        """Return the expected counts (H, W) of a frame; `light` (H, W) is the sample's photons."""
        total = light + self.background
        if self.blemish == "row flicker":
            return np.asarray(total * rng.lognormal(0, FLICKER, (len(total), 1)))
        return np.asarray(total)

    def counted(self, counts: Counts, rng: np.random.Generator) -> Counts:
        """Return the counts (H, W) including after-pulses."""
        if self.blemish != "after-pulsing":
            return counts
        pulses, all_counts = counts, counts.astype(np.uint32)
        while pulses.any():
            caused = np.zeros_like(counts)
            caused[:, 1:] = rng.binomial(pulses[:, :-1], AFTER_PULSES)
            all_counts, pulses = all_counts + caused, caused
        return np.minimum(all_counts, np.iinfo(np.uint16).max).astype(np.uint16)


def blemished(blemish: Blemish, background: Floats, rng: np.random.Generator) -> Blemished:
    """Return a detector with background (H, W), counts, and a random artefact of this kind."""
    return Blemished(blemish, _BACKGROUNDS.get(blemish, _plain)(background, rng))


def _plain(background: Floats, rng: np.random.Generator) -> Floats:
    return background


def _ramp(background: Floats, rng: np.random.Generator) -> Floats:
    y, x = _coordinates(background.shape)
    angle = rng.uniform(0, 2 * np.pi)
    along = (x * np.cos(angle) + y * np.sin(angle)) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    return np.asarray(background * np.interp(along, (-1, 1), RAMP))


def _vignette(background: Floats, rng: np.random.Generator) -> Floats:
    y, x = _coordinates(background.shape)
    return np.asarray(background * (1 - VIGNETTED * (x**2 + y**2) / 2))


def _hot_pixels(background: Floats, rng: np.random.Generator) -> Floats:
    hot = rng.random(background.shape) < HOT_SHARE
    low, high = np.log(HOT_COUNTS)
    return np.asarray(background + hot * np.exp(rng.uniform(low, high, background.shape)))


def _fixed_pattern(background: Floats, rng: np.random.Generator) -> Floats:
    return np.asarray(background * rng.lognormal(0, PATTERN, background.shape))


def _coordinates(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return rows and columns of the pixels, -1 to 1."""
    y, x = (np.linspace(-1, 1, side) for side in shape)
    return y[:, None], x[None]


_BACKGROUNDS: Final[Mapping[Blemish, Callable[[Floats, np.random.Generator], Floats]]] = {
    "ramp": _ramp,
    "vignette": _vignette,
    "hot pixels": _hot_pixels,
    "fixed pattern": _fixed_pattern,
}


Physics = Literal["simulator", "other"]
PHYSICS: Final[tuple[Physics, ...]] = ("simulator", "other")
Field = Callable[[int], NDArray[np.float32]]
"""From frame number to noise-free image (H, W), in which a typical structure's peak is 1."""

STREAM: Final = 20_271
"""Makes the audit's random numbers independent of those of every purpose of `simulation.training_samples`."""
SIDES_PX: Final = (160, 256)
LENGTHS: Final = (16, 24)
SWING_PX: Final = 40
"""A drifting field reverses after this many px."""
INTERVAL_S: Final = 4.6
"""Time between two frames of the training simulator."""
EDGE_PX: Final = 2.0
"""Width of the edge of a half-empty field of the simulator."""
LEAST_SHOWN: Final = 0.02
"""Share of the pixels that must reach half a typical structure's peak. Emptier fields are drawn again,
because it is unclear whether they show a sample."""


@dataclass(frozen=True)
class Extent:
    """Bounds of a movie's side, px, and of its number of frames; both included."""

    side_px: tuple[int, int] = SIDES_PX
    frames: tuple[int, int] = LENGTHS


@dataclass(frozen=True, eq=False)
class SimulatedMovie:
    """A movie and its truth.

    Parameters
    ----------
    counts : ndarray
        (T, H, W) uint16.
    truth : ndarray
        (T, H, W) float32, expected photons of the sample.
    doses : tuple of float
        Photons on a typical structure's peak, in each frame.
    changes_at : int or None
        First frame without light of the sample, or of another field; None if neither happens.
    """

    physics: Physics
    condition: Condition
    number: int
    counts: NDArray[np.uint16]
    truth: NDArray[np.float32]
    doses: tuple[float, ...]
    changes_at: int | None

    @property
    def died_at(self) -> int | None:
        """First frame without light of the sample; None if it does not end."""
        return self.changes_at if self.condition.dies else None


class World(Protocol):
    """A simulator: one microscope with its kinds of samples."""

    def field(self, rng: np.random.Generator, side_px: int, *, half_empty: bool) -> Field:
        """Draw a field of view."""

    def darkness(self, rng: np.random.Generator, side_px: int) -> NDArray[np.float64]:
        """Draw the relative dark rate over the field, (H, W), with mean 1."""

    def detector(
        self, rng: np.random.Generator
    ) -> Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.uint16]]:
        """Draw a detector: from expected counts (H, W) to counts."""


class TrainingWorld:
    """The training simulator: its scenes, and a detector with only Poisson noise."""

    def field(self, rng: np.random.Generator, side_px: int, *, half_empty: bool) -> Field:
        """Draw a field of view of a kind used in training."""
        scene = draw_er(rng, SimulationSettings(), side_px)
        if half_empty:
            scene = replace(scene, cover=_half(rng, scene.cover.shape))
        return lambda frame: scene.structure(frame * INTERVAL_S)

    def darkness(self, rng: np.random.Generator, side_px: int) -> NDArray[np.float64]:
        """Return a uniform relative dark rate: ones, (H, W)."""
        return np.ones((side_px, side_px))

    def detector(
        self, rng: np.random.Generator
    ) -> Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.uint16]]:
        """Return a detector that counts each photon: expected photons, (H, W), to counts, (H, W) uint16."""
        return lambda expected, own: own.poisson(expected).astype(np.uint16)


class OtherWorld:
    """Samples, optics and detector of :mod:`independent_simulator`."""

    def field(self, rng: np.random.Generator, side_px: int, *, half_empty: bool) -> Field:
        """Draw filaments, vesicles, patches, or all of them."""
        return OtherScene.random(rng, side_px, half_empty=half_empty).structure

    def darkness(self, rng: np.random.Generator, side_px: int) -> NDArray[np.float64]:
        """Draw an uneven relative dark rate, (H, W), with mean 1."""
        return dark_map(rng, (side_px, side_px))

    def detector(
        self, rng: np.random.Generator
    ) -> Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.uint16]]:
        """Draw a detector with a dead time: expected photons, (H, W), to counts, (H, W) uint16."""
        dead_time = rng.uniform(*DEAD_TIME)
        return lambda expected, own: count_with_dead_time(expected, dead_time, own)


WORLDS: Final[Mapping[Physics, World]] = {"simulator": TrainingWorld(), "other": OtherWorld()}


def simulate(
    condition: Condition, physics: Physics, number: int, *, seed: int, extent: Extent | None = None
) -> SimulatedMovie:
    """Return a movie of a condition.

    Parameters
    ----------
    number : int
        Number of the movie within its condition.
    extent : Extent or None
        Bounds of its size; None: the default ones.
    """
    extent = extent or Extent()
    own = (seed, STREAM, PHYSICS.index(physics), CONDITIONS.index(condition), number)
    rng = np.random.default_rng(own)
    side_px = int(rng.integers(extent.side_px[0], extent.side_px[1] + 1))
    frames = int(rng.integers(extent.frames[0], extent.frames[1] + 1))
    middle = int(rng.integers(frames // 3, frames // 2 + 1))
    changes_at = middle if condition.dies or condition.jumps else None
    field = _field(condition, WORLDS[physics], rng, side_px, changes_at)
    doses = _doses(condition, frames, changes_at)
    truth = np.stack([np.float32(dose) * field(frame) for frame, dose in enumerate(doses)])
    counts = _counted(condition, WORLDS[physics], rng, truth)
    return SimulatedMovie(physics, condition, number, counts, truth, doses, changes_at)


def _doses(condition: Condition, frames: int, changes_at: int | None) -> tuple[float, ...]:
    ends = changes_at if condition.dies and changes_at is not None else frames
    left = [condition.dose * 0.5 ** (frame / condition.half_life_frames) for frame in range(ends)]
    return (*left, *[0.0] * (frames - ends))


def _field(
    condition: Condition, world: World, rng: np.random.Generator, side_px: int, changes_at: int | None
) -> Field:
    if not condition.dose:
        return lambda frame: np.zeros((side_px, side_px), np.float32)
    if condition.jumps and changes_at is not None:
        fields = [_showing(condition, world, rng, side_px) for _ in range(2)]
        return lambda frame: fields[frame >= changes_at](frame)
    if not condition.drift_px:
        return _showing(condition, world, rng, side_px)
    whole = _showing(condition, world, rng, side_px + 2 * SWING_PX)
    angle = rng.uniform(0, 2 * np.pi)
    step = np.rint(condition.drift_px * np.array([np.sin(angle), np.cos(angle)])).astype(int)
    return lambda frame: _window(whole(frame), step, frame, side_px)


def _showing(condition: Condition, world: World, rng: np.random.Generator, side_px: int) -> Field:
    """Return a field in which the sample covers enough pixels."""
    while True:
        field = world.field(rng, side_px, half_empty=condition.half_empty)
        if float((field(0) >= 0.5).mean()) >= LEAST_SHOWN:
            return field


def _window(
    image: NDArray[np.float32], step: NDArray[np.int_], frame: int, side_px: int
) -> NDArray[np.float32]:
    """Return the part of a larger field that is in view while the stage drifts back and forth."""
    longest = max(int(np.abs(step).max()), 1)
    turn = max(SWING_PX // longest, 1)
    steps = turn - abs(frame % (2 * turn) - turn)  # 0, 1, …, turn, …, 1, 0, 1, …
    top, left = (int(SWING_PX + steps * part) for part in step)
    return image[top : top + side_px, left : left + side_px]


def _counted(
    condition: Condition, world: World, rng: np.random.Generator, truth: NDArray[np.float32]
) -> NDArray[np.uint16]:
    background = condition.background * world.darkness(rng, truth.shape[-1])
    spoiled, detect = blemished(condition.blemish, background, rng), world.detector(rng)
    frames = [
        spoiled.counted(detect(spoiled.expected(light.astype(np.float64), rng), rng), rng) for light in truth
    ]
    counts = np.stack(frames)
    return counts if condition.ceiling is None else np.minimum(counts, np.uint16(condition.ceiling))


def _half(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return 1 on one side of a straight line through the middle, 0 on the other."""
    y, x = np.indices(shape) - np.array(shape).reshape(2, 1, 1) / 2
    angle = rng.uniform(0, 2 * np.pi)
    across = (x * np.cos(angle) + y * np.sin(angle)) / EDGE_PX
    return np.asarray(1 / (1 + np.exp(np.clip(across, -50, 50))))
