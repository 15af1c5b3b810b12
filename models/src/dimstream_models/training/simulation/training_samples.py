"""Libraries of simulated scenes, and training samples from them: patches seen by a photon detector.

Scenes are drawn on every core; scene i of a stream is the same on any machine. They are drawn once and kept
as a library of noise-free images. Every step crops, turns and exposes them again with random doses, so a fit
never sees the same noise twice. A step's samples depend only on the seed and the step, so a resumed run
equals an uninterrupted one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from dimstream_models.training.fitting.batches import Batch
from dimstream_models.training.settings import SimulationSettings
from dimstream_models.training.simulation.er_scenes import Kind, MovingScene, Scene
from dimstream_models.training.simulation.specimens import draw_specimen, smaller_er
from dimstream_models.worker_processes import worker_pool

SPECK_FOOT = 0.02  # photons: a fainter speck does not change its pixel noticeably


class SimulatedSource:
    """A sampler as the source of a fit; epochs have any length, and noise never repeats."""

    def __init__(self, sampler: Sampler, *, size: int, patch_px: int, steps_per_epoch: int) -> None:
        self._sampler, self._size, self._patch_px = sampler, size, patch_px
        self.steps_per_epoch = steps_per_epoch

    def batch(self, step: int) -> Batch:
        """Return the samples of one step."""
        return self._sampler.batch(step, size=self._size, patch_px=self._patch_px)


class Sampler:
    """Draws batches from a library of scenes on the device.

    Parameters
    ----------
    library : (N, H, W) tensor
        Noise-free scenes.
    settings : SimulationSettings
        Doses, dark counts, background.
    seed : int
        Seed of the whole run.
    """

    def __init__(self, library: Tensor, settings: SimulationSettings, seed: int) -> None:
        self.library = library
        self.settings = settings
        self.seed = seed
        self.generator = torch.Generator(device=library.device)

    def batch(self, step: int, *, size: int, patch_px: int) -> Batch:
        """Return the samples of one step, which depend only on seed and step.

        The truth is the expected photons of the light at the same dose, without dark counts and specks.
        """
        self.generator.manual_seed(self.seed * 1_000_003 + step)
        structure = self._turn(self._crop(size, patch_px))
        full = (self._uniform(size) >= self.settings.empty_share).float()
        lit = (self._uniform(size) < self.settings.background_share).float()
        background = lit * self._log_uniform(size, self.settings.background)
        if self.settings.background_unevenness:
            background = background * self._unevenness(size, patch_px)
        light = full * self._log_uniform(size, self.settings.dose) * structure
        if self.settings.flicker_share:
            light = light * self._flicker(size, patch_px)
        expected = light + background
        dark = self._log_uniform(size, self.settings.dark_counts)
        if not self.settings.speck_share:
            return Batch(torch.poisson(expected + dark, generator=self.generator), expected)
        speck = self._speck(size, patch_px)
        counts = torch.poisson(expected + dark + speck, generator=self.generator)
        return Batch(counts, expected, (speck < SPECK_FOOT).float())

    def _unevenness(self, size: int, patch_px: int) -> Tensor:
        """Return smooth fields of mean 1, (B, 1, y, x): gradients, glows and shadows as wide as a patch."""
        device = self.library.device
        coarse = torch.randn((size, 1, 4, 4), device=device, generator=self.generator)
        spread = self.settings.background_unevenness * self._uniform(size)
        smooth = functional.interpolate(coarse, (patch_px, patch_px), mode="bicubic", align_corners=True)
        field = torch.exp(spread * smooth)
        return field / field.mean(dim=(1, 2, 3), keepdim=True)

    def _flicker(self, size: int, patch_px: int) -> Tensor:
        """Return factors of mean 1, (B, 1, y, x), each pixel's drawn by itself, in a share of the patches."""
        flickers = (self._uniform(size) < self.settings.flicker_share).float()
        spread = flickers * self.settings.flicker * self._uniform(size)
        drawn = torch.randn(
            (size, 1, patch_px, patch_px), device=self.library.device, generator=self.generator
        )
        return torch.exp(spread * drawn - spread**2 / 2)

    def _speck(self, size: int, patch_px: int) -> Tensor:
        """Return the light of one round speck in some patches, 0 in the others, (B, 1, y, x)."""
        places = torch.arange(patch_px, device=self.library.device)
        from_y = places[:, None] - self._uniform(size) * patch_px
        from_x = places - self._uniform(size) * patch_px
        width = 0.7 + 1.3 * self._uniform(size)
        lit = (self._uniform(size) < self.settings.speck_share).float()
        peak = lit * self._log_uniform(size, self.settings.speck)
        return peak * torch.exp(-(from_y**2 + from_x**2) / (2 * width**2))

    def _crop(self, size: int, patch_px: int) -> Tensor:
        device = self.library.device
        number, height, width = self.library.shape
        which = self._integers(number, size)
        top, left = self._integers(height - patch_px + 1, size), self._integers(width - patch_px + 1, size)
        ahead = torch.arange(patch_px, device=device)
        rows, columns = top[:, None, None] + ahead[:, None], left[:, None, None] + ahead
        return self.library[which[:, None, None], rows, columns][:, None].float()  # (B, 1, y, x)

    def _turn(self, patches: Tensor) -> Tensor:
        """Return each patch in one of its eight orientations."""
        flip, mirror, transpose = (self._uniform(len(patches)) < 0.5 for _ in range(3))
        patches = torch.where(flip, patches.flip(-2), patches)
        patches = torch.where(mirror, patches.flip(-1), patches)
        return torch.where(transpose, patches.transpose(-1, -2), patches)

    def _uniform(self, size: int) -> Tensor:  # (B, 1, 1, 1)
        return torch.rand((size, 1, 1, 1), device=self.library.device, generator=self.generator)

    def _log_uniform(self, size: int, bounds: tuple[float, float]) -> Tensor:
        low, high = np.log(bounds)
        return torch.exp(low + (high - low) * self._uniform(size))

    def _integers(self, end: int, size: int) -> Tensor:  # (B,)
        return torch.randint(end, (size,), device=self.library.device, generator=self.generator)


FEW_FIELDS = 16  # drawing fewer is faster than starting processes
Purpose = Literal[
    "training", "validation", "calibration", "sample", "experiment", "error bars", "error bars held back"
]
_STREAMS: dict[Purpose, int] = {
    "training": 0,
    "validation": 1,
    "calibration": 2,
    "sample": 3,
    "experiment": 4,
    "error bars": 5,
    "error bars held back": 6,
}


def scene_generator(seed: int, purpose: Purpose, index: int) -> np.random.Generator:
    """Return the random generator of one scene; scenes of different purposes are always different."""
    return np.random.default_rng((seed, _STREAMS[purpose], index))


def draw_scene(rng: np.random.Generator, settings: SimulationSettings, side_px: int) -> MovingScene:
    """Draw a scene of one of the kinds in the settings."""
    if settings.other_share and rng.random() < settings.other_share:
        return draw_specimen(rng, (side_px, side_px))
    if settings.smaller_share and rng.random() < settings.smaller_share:
        return smaller_er(rng, (side_px, side_px), float(rng.choice([0.5, 0.75])))
    return draw_er(rng, settings, side_px)


def draw_er(rng: np.random.Generator, settings: SimulationSettings, side_px: int) -> Scene:
    """Draw a scene of the ER, of a cell body or of sparse filaments, by their shares in the settings."""
    draw = rng.random()
    kind: Kind = "er"
    if draw < settings.dense_share:
        kind = "dense"
    elif draw < settings.dense_share + settings.sparse_share:
        kind = "sparse"
    return Scene.random(rng, (side_px, side_px), kind)


def draw_library(
    seed: int, settings: SimulationSettings, *, purpose: Purpose, fields: int
) -> NDArray[np.float16]:
    """Return `fields` noise-free scenes, (N, H, W), in which a typical tubule's peak is 1."""
    jobs = [(seed, purpose, i, settings) for i in range(fields)]
    if fields <= FEW_FIELDS:
        return np.stack([_draw_field(job) for job in jobs])
    with worker_pool() as pool:
        images = pool.map(_draw_field, jobs, chunksize=8)
        return np.stack(list(tqdm(images, total=fields, desc=f"{purpose} scenes", unit="field")))


def _draw_field(job: tuple[int, Purpose, int, SimulationSettings]) -> NDArray[np.float16]:
    seed, purpose, index, settings = job
    rng = scene_generator(seed, purpose, index)
    scene = draw_scene(rng, settings, settings.side_px)
    return scene.structure(rng.uniform(0, 300)).astype(np.float16)
