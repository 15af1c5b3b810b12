"""Simulated frames, and a bundle's error on each of their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from dimstream_models.bundle import Bundle, apply_steps
from dimstream_models.training.audit.independent_simulator import OtherScene, count_with_dead_time
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.prediction import Denoise, onnx_denoiser
from dimstream_models.training.settings import SimulationSettings
from dimstream_models.training.simulation.specimens import draw_specimen
from dimstream_models.training.simulation.training_samples import Purpose, draw_er, scene_generator

Rng = np.random.Generator
Image = NDArray[np.float32]

STRUCTURES: Final = ("empty", "edge", "centre")
EMPTY: Final = 0.1
"""Pixels below this share of a typical structure's brightness are empty."""
CENTRE: Final = 0.85
"""A pixel is the centre of a structure if it reaches this share of the brightest pixel in its 7 x 7 px."""
_AROUND_PX: Final = 7
_DOSE: Final = (0.08, 35.0)  # photons on a structure, log-uniform
_DARK: Final = (0.001, 0.05)  # counts/px without light
_STRAY: Final = (0.01, 3.0)  # photons/px of stray light, in half of the frames
_OTHER_SHARE: Final = 0.4  # share of scenes with other structures than the ER
_EMPTY_SHARE: Final = 0.05
_DEAD_TIME: Final = (0.002, 0.02)  # dark counts of the second simulator's detector
_SCALE_FIELDS: Final = 24


@dataclass(frozen=True, eq=False)
class Exposed:
    """A frame and its truth.

    Parameters
    ----------
    counts : ndarray
        (H, W) float32 photons.
    light : ndarray
        (H, W) float32, expected photons of the light.
    structure : ndarray
        (H, W) uint8, index in `STRUCTURES`.
    dose : float
        Photons per pixel on a typical structure.
    kind : int
        0: endoplasmic reticulum; 1: another structure.
    """

    counts: Image
    light: Image
    structure: NDArray[np.uint8]
    dose: float
    kind: int


@dataclass(frozen=True, eq=False)
class Sample:
    """An exposed frame, the network's output (H, W), and the error of the denoised counts, (H, W) counts."""

    exposed: Exposed
    prediction: Image
    error: Image


World = Callable[[Rng, int], Exposed]
"""Function that draws a frame with the given side, px."""


def our_world(rng: Rng, side_px: int) -> Exposed:
    """Return a frame of the scenes of training, half of which have stray light."""
    kind = int(rng.random() < _OTHER_SHARE)
    if kind:
        structure = draw_specimen(rng, (side_px, side_px)).structure()
    else:
        structure = draw_er(rng, SimulationSettings(), side_px).structure()
    if rng.random() < _EMPTY_SHARE:
        structure = np.zeros_like(structure)
    dose = _log_uniform(rng, _DOSE)
    light = dose * structure + _stray_light(rng, side_px)
    counts = rng.poisson(light + _log_uniform(rng, _DARK))
    return _exposed(counts, light, structure, dose, kind)


def second_world(rng: Rng, side_px: int) -> Exposed:
    """Return a frame of the audit's simulator, which shares nothing with the first: other samples, optics and
    detector.

    Its detector has a dead time after each photon. The light is the mean of its counts, because no frame
    shows the photons that it misses.
    """
    scene = OtherScene.random(rng, side_px, half_empty=bool(rng.random() < 0.3))
    structure = scene.structure(0)
    dose = _log_uniform(rng, _DOSE)
    light = dose * structure.astype(np.float64)
    dark = _log_uniform(rng, _DARK)
    dead_time = float(rng.uniform(*_DEAD_TIME))
    counts = count_with_dead_time(light + dark, dead_time, rng)
    counted = light / (1 + dead_time * (light + dark))
    return _exposed(counts, counted, structure, dose, 1)


def structure_of(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the structure of each pixel, (H, W), as an index in `STRUCTURES`.

    Parameters
    ----------
    image : ndarray
        (H, W), noise-free, in units of a typical structure.
    """
    top = ndimage.maximum_filter(image, _AROUND_PX)
    return np.where(image < EMPTY, 0, np.where(image >= CENTRE * top, 2, 1)).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Judged:
    """A bundle that is applied to frames with known truth.

    Parameters
    ----------
    counts_per_photon : float
        Denoised counts per photon of the raw frame.
    """

    bundle: Bundle
    denoise: Denoise
    counts_per_photon: float

    @classmethod
    def of(cls, bundle: Bundle) -> Judged:
        """Return a bundle ready to be judged.

        Raises
        ------
        CannotEvaluate
            When its network needs other axes than (1, 1, y, x), or its output does not depend on light.
        """
        if (bundle.input_axes, bundle.output_axes) != ("bcyx", "bcyx") or bundle.config is None:
            raise CannotEvaluate(
                f"expected a bundle that dimstream wrote, but other software wrote {bundle.id}: import or "
                "train a model first"
            )
        denoise = onnx_denoiser(bundle.onnx, step=bundle.step, min_side=bundle.min_side)
        stated = _stated_ratio(bundle)
        return cls(bundle, denoise, stated or _fitted_ratio(bundle, denoise))

    def denoised(self, prediction: Image) -> Image:
        """Return the delivered image for a network's output, (H, W) counts, before rounding."""
        return apply_steps(self.bundle.postprocessing, prediction).astype(np.float32, copy=False)

    def sample(self, exposed: Exposed) -> Sample:
        """Return the bundle's output for a frame, and its error."""
        prediction = self.denoise(apply_steps(self.bundle.preprocessing, exposed.counts))
        denoised = self.denoised(prediction)
        error = np.abs(denoised - self.counts_per_photon * exposed.light)
        return Sample(exposed, prediction, error.astype(np.float32))

    def samples(
        self, world: World, *, seed: int, purpose: Purpose, number: int, side_px: int
    ) -> Iterator[Sample]:
        """Yield samples of a simulator; the same seed and purpose give the same samples."""
        for index in tqdm(range(number), desc=f"frames of {world.__name__.replace('_', ' ')}", unit="frame"):
            yield self.sample(world(scene_generator(seed, purpose, index), side_px))


def _stated_ratio(bundle: Bundle) -> float | None:
    """Return the dose ratio for which the bundle's scale was fitted; None if its record does not state it."""
    config = bundle.config
    made = None if config is None else config.provenance
    simulation = None if made is None else made.settings.get("simulation")
    fitted = (
        config is not None and config.rescaling is not None and config.rescaling.method != "normalisation"
    )
    if not fitted or not isinstance(simulation, dict):
        return None
    ratio = simulation.get("dose_ratio")
    return float(ratio) if isinstance(ratio, int | float) else None


def _fitted_ratio(bundle: Bundle, denoise: Denoise) -> float:
    """Return the slope of denoised counts against light, on bright simulated frames."""
    above = below = 0.0
    for index in range(_SCALE_FIELDS):
        rng = scene_generator(0, "error bars", index)
        light = _log_uniform(rng, (3.0, 10.0)) * draw_er(rng, SimulationSettings(), 128).structure()
        denoised = apply_steps(bundle.postprocessing, denoise(rng.poisson(light).astype(np.float32)))
        above += float((denoised * light).sum())
        below += float((light * light).sum())
    if not above > 0:
        raise CannotEvaluate(
            f"expected denoised counts that increase with the light, but those of {bundle.id} do not"
        )
    return above / below


def _exposed(
    counts: NDArray[Any], light: NDArray[Any], structure: NDArray[Any], dose: float, kind: int
) -> Exposed:
    return Exposed(counts.astype(np.float32), light.astype(np.float32), structure_of(structure), dose, kind)


def _stray_light(rng: Rng, side_px: int) -> NDArray[np.float64]:
    if rng.random() < 0.5:
        return np.zeros((side_px, side_px))
    rough = ndimage.zoom(rng.normal(size=(4, 4)), side_px / 4, order=3)
    field = np.exp(rng.uniform(0, 0.5) * rough)
    return np.asarray(_log_uniform(rng, _STRAY) * field / field.mean())


def _log_uniform(rng: Rng, bounds: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
