"""Pairs and movies for a calibration, from the scenes of a simulated recipe; test images are not used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from tqdm import trange

from dimstream_models.training.calibration.rescaling import PredictedPair, Rescaling, fit_rescaling
from dimstream_models.training.calibration.threshold import (
    FlagThresholds,
    Movie,
    Origin,
    calibrate_flag,
    ssim_settings,
)
from dimstream_models.training.errors import CannotCalibrate
from dimstream_models.training.prediction import Denoise
from dimstream_models.training.settings import Recipe, SimulationSettings
from dimstream_models.training.simulation.er_scenes import expose, simulate_movie
from dimstream_models.training.simulation.training_samples import Purpose, draw_scene, scene_generator

FIELDS = 48

Counts = NDArray[np.uint16]


def rescaling_of_scenes(recipe: Recipe, denoise: Denoise, *, fields: int = FIELDS) -> Rescaling:
    """Return scale and offset, fitted to training scenes and their high-dose images."""
    return fit_rescaling(
        _training_pairs(recipe, denoise, fields),
        recipe.calibration.rescaling,
        data=f"{fields} simulated training fields",
    )


def threshold_of_scenes(recipe: Recipe, denoise: Denoise) -> FlagThresholds:
    """Return the flag's thresholds between simulated movies of moving scenes and of empty fields."""
    origin = Origin(
        movies="simulated signal movies and of simulated empty fields",
        doses_photons=tuple(round(float(dose), 3) for dose in _doses(recipe)),
        frame_interval_s=_simulation(recipe).frame_interval_s,
        seed=recipe.seed,
    )
    return calibrate_flag(
        _signal_movies(recipe),
        _dark_movies(recipe),
        denoise,
        ssim_settings(recipe.calibration.ssim_data_range),
        false_alarm_rate=recipe.calibration.false_alarm_rate,
        origin=origin,
    )


def frames_of_scenes(recipe: Recipe) -> tuple[list[Counts], list[Counts]]:
    """Return the first frame (H, W) of each movie of `threshold_of_scenes`, with and without signal."""
    return [movie[0] for movie in _signal_movies(recipe)], [movie[0] for movie in _dark_movies(recipe)]


def example_pairs(recipe: Recipe, purpose: Purpose, fields: int) -> list[tuple[Counts, Counts]]:
    """Return images at low and high dose, (H, W) counts, of the first scenes of a purpose."""
    return [_exposed(recipe, purpose, index) for index in range(fields)]


def _training_pairs(recipe: Recipe, denoise: Denoise, fields: int) -> Iterator[PredictedPair]:
    for index in trange(fields, desc="scale and offset", unit="field"):
        low, high = _exposed(recipe, "training", index)
        yield denoise(low), high


def _exposed(recipe: Recipe, purpose: Purpose, index: int) -> tuple[Counts, Counts]:
    simulation = _simulation(recipe)
    rng = scene_generator(recipe.seed, purpose, index)
    structure = draw_scene(rng, simulation, recipe.calibration.side_px).structure()
    dose = float(np.exp(rng.uniform(*np.log(recipe.calibration.dose))))
    dark = float(np.exp(rng.uniform(*np.log(simulation.dark_counts))))
    low = expose(structure, dose=dose, dark_counts=dark, rng=rng)
    return low, expose(structure, dose=dose * simulation.dose_ratio, dark_counts=dark, rng=rng)


def _signal_movies(recipe: Recipe) -> Iterator[Movie]:
    settings, simulation = recipe.calibration, _simulation(recipe)
    doses = _doses(recipe)
    for index in trange(settings.movies, desc="signal movies", unit="movie"):
        rng = scene_generator(recipe.seed, "calibration", 2 * index)
        movie, _ = simulate_movie(
            draw_scene(rng, simulation, settings.side_px),
            frames=settings.frames,
            frame_interval_s=simulation.frame_interval_s,
            dose=float(doses[index]),
            dark_counts=_background(rng, simulation),
            rng=rng,
        )
        yield movie


def _background(rng: np.random.Generator, simulation: SimulationSettings) -> float:
    """Return the counts/px without structure: the detector's and, in some movies, stray light, as in
    training."""
    dark = float(np.exp(rng.uniform(*np.log(simulation.dark_counts))))
    if rng.random() >= simulation.background_share:
        return dark
    return dark + float(np.exp(rng.uniform(*np.log(simulation.background))))


def _dark_movies(recipe: Recipe) -> Iterator[Movie]:
    settings = recipe.calibration
    rates = np.geomspace(*settings.dark_counts, settings.movies)
    for index in trange(settings.movies, desc="dark movies", unit="movie"):
        rng = scene_generator(recipe.seed, "calibration", 2 * index + 1)
        shape = (settings.frames, settings.side_px, settings.side_px)
        yield rng.poisson(rates[index], shape).astype(np.uint16)


def _doses(recipe: Recipe) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.geomspace(*recipe.calibration.dose, recipe.calibration.movies)


def _simulation(recipe: Recipe) -> SimulationSettings:
    if recipe.simulation is None:
        raise CannotCalibrate("expected a recipe with simulation, got one with pairs: give movies instead")
    return recipe.simulation
