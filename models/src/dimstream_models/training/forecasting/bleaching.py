"""Movies of samples that bleach until they are suspect, by laws that the forecast does not assume.

Samples and detectors are those of both simulators of the audit. The samples move, some of them also by a
drift of the stage; some fields are half empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.training.audit.independent_simulator import FRAMES
from dimstream_models.training.audit.simulated_movies import LEAST_SHOWN, PHYSICS, WORLDS, Field, Physics

Floats = NDArray[np.float64]
Law = Literal["single", "double", "stretched", "recovery", "refocus", "steady"]
LAWS: Final[tuple[Law, ...]] = get_args(Law)
"""Single, double and stretched exponential; one with dark states that recover in a pause; one with a focus
that drifts and is corrected; and no bleaching, for which there should be no forecast."""

STREAM: Final = 40_961
"""Makes these random numbers independent of those of all other purposes."""
SIDES_PX: Final = (112, 193)
DOSES: Final = (0.7, 15.0)
BACKGROUNDS: Final = (0.003, 0.8)
LIFE_FRAMES: Final = (20.0, 90.0)
"""Approximate time until almost no photons are left on a structure, log-uniform."""
LAST_DOSE: Final = 0.12
"""Photons per pixel on a structure at which most fields of this size show no structure."""
LONGEST: Final = 2.2
"""Most frames of a movie, in multiples of its life."""
MOST_FRAMES: Final = 200
HALF_EMPTY: Final = 0.2
DRIFTING: Final = 0.25
DRIFT_PX: Final = (0.2, 1.5)
SWING_PX: Final = 20


@dataclass(frozen=True, eq=False)
class BleachingMovie:
    """A movie whose frames are drawn one by one.

    Parameters
    ----------
    life_frames : float
        Decay time of the law, frames.
    light : ndarray
        (T,), relative to the first frame, by the law.
    """

    law: Law
    physics: Physics
    number: int
    side_px: int
    dose: float
    background: float
    life_frames: float
    light: Floats
    _rng: np.random.Generator

    def frames(self) -> Iterator[NDArray[np.uint16]]:
        """Yield its frames, (H, W) uint16 photon counts; only once."""
        rng, world = self._rng, WORLDS[self.physics]
        half_empty, drift = rng.random() < HALF_EMPTY, _drift(rng)
        field = _showing(self.physics, rng, self.side_px + 2 * SWING_PX, half_empty=half_empty)
        blur = _blur(self.law, rng, self.life_frames, len(self.light))
        dark = world.darkness(rng, self.side_px) * self.background
        detect = world.detector(rng)
        for frame, light in enumerate(self.light):
            structure = _window(field(_to_and_fro(frame)).astype(float), drift, frame)
            if blur[frame]:
                structure = ndimage.gaussian_filter(structure, blur[frame])
            yield detect(self.dose * light * structure + dark, rng)


def bleaching_movie(number: int, *, seed: int) -> BleachingMovie:
    """Return a movie; laws, and then simulators, alternate with the number.

    Parameters
    ----------
    number : int
        Number of the movie; the same seed and number give the same movie.
    """
    rng = np.random.default_rng((seed, STREAM, number))
    law = LAWS[number % len(LAWS)]
    dose, background, life = (_log_uniform(rng, bounds) for bounds in (DOSES, BACKGROUNDS, LIFE_FRAMES))
    decay = life / math.log(dose / LAST_DOSE)
    frames = int(life if law == "steady" else min(LONGEST * life, MOST_FRAMES))
    return BleachingMovie(
        law=law,
        physics=PHYSICS[number // len(LAWS) % len(PHYSICS)],
        number=number,
        side_px=int(rng.integers(*SIDES_PX)),
        dose=dose,
        background=background,
        life_frames=decay,
        light=_light(law, rng, decay, frames),
        _rng=rng,
    )


def _light(law: Law, rng: np.random.Generator, decay: float, frames: int) -> Floats:
    """Return the light of each frame relative to the first, (T,)."""
    t = np.arange(frames, dtype=float)
    if law == "steady":
        return np.ones(frames)
    if law == "double":
        share, faster = rng.uniform(0.3, 0.7), rng.uniform(3, 8)
        return np.asarray(share * np.exp(-faster * t / decay) + (1 - share) * np.exp(-t / decay))
    if law == "stretched":
        return np.asarray(np.exp(-((t / decay) ** rng.uniform(0.55, 0.85))))
    light = np.exp(-t / decay)
    if law == "recovery":
        pause = int(rng.integers(int(0.5 * decay) + 2, int(2 * decay) + 4))
        gain, lasts = rng.uniform(0.15, 0.5), decay * rng.uniform(0.05, 0.3)
        light = light * np.where(t >= pause, 1 + gain * np.exp(-(t - pause) / lasts), 1.0)
    return np.asarray(light)


def _blur(law: Law, rng: np.random.Generator, decay: float, frames: int) -> Floats:
    """Return the defocus of each frame, (T,) px."""
    blur = np.zeros(frames)
    if law == "refocus":
        first = int(rng.integers(int(0.3 * decay) + 1, int(1.5 * decay) + 3))
        lasts, most = int(max(3, decay * rng.uniform(0.3, 0.8))), rng.uniform(1, 3)
        drifting = np.arange(first, min(first + lasts, frames))
        blur[drifting] = most * (drifting - first) / lasts
    return blur


def _drift(rng: np.random.Generator) -> Floats:
    """Return the drift of the stage from frame to frame, (2,) px."""
    if rng.random() >= DRIFTING:
        return np.zeros(2)
    angle, pixels = rng.uniform(0, 2 * np.pi), rng.uniform(*DRIFT_PX)
    return np.asarray(pixels * np.array([np.sin(angle), np.cos(angle)]))


def _window(image: Floats, drift: Floats, frame: int) -> Floats:
    """Return the part of a larger field that is in view of a drifting stage, which reverses at the field's
    border."""
    step = float(np.abs(drift).max())
    turn = SWING_PX / step if step else 1.0
    place = SWING_PX + drift * (turn - abs(frame % (2 * turn) - turn))
    top, left = np.rint(place).astype(int)
    height, width = (side - 2 * SWING_PX for side in image.shape)
    return image[top : top + height, left : left + width]


def _to_and_fro(frame: int) -> int:
    """Return the frame of a scene, whose motion is drawn for `FRAMES` frames only."""
    last = FRAMES - 1
    return last - abs(frame % (2 * last) - last)


def _showing(physics: Physics, rng: np.random.Generator, side_px: int, *, half_empty: bool) -> Field:
    """Return a field in which the sample covers enough pixels."""
    while True:
        field = WORLDS[physics].field(rng, side_px, half_empty=half_empty)
        if float((field(0) >= 0.5).mean()) >= LEAST_SHOWN:
            return field


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
