"""What a trained network is told about the world: its rescaling and the threshold of its flag.

Both come from training scenes and simulated movies only; no test image takes part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tqdm import trange

from dimstream_models.arithmetic import normalise_prediction, ssim
from dimstream_models.bundle import Calibration, SsimSettings
from dimstream_models.training.settings import Recipe
from dimstream_models.training.simulation.scenes import Purpose, draw_scene, scene_generator
from dimstream_models.training.simulation.simulator import expose, simulate_movie

Denoise = Callable[[NDArray[np.uint16]], NDArray[np.float32]]
Floats = NDArray[np.float64]
SSIM_WINDOW = 7
_QUANTILES = (0.0, 0.005, 0.01, 0.05, 0.5, 0.95, 0.99, 0.995, 1.0)


@dataclass(frozen=True)
class Rescaling:
    """From normalised predictions to counts of the high dose: `gain * prediction + offset`."""

    gain: float
    offset: float


def fit_rescaling(recipe: Recipe, denoise: Denoise, *, fields: int = 48) -> Rescaling:
    """Fit scale and offset by least squares on training scenes and their high-dose images.

    Source: the paper's Methods, "Network training" (scale and offset per model, from training instances
    alone); without its clipping to the 1st and 99th quantile, which in a sparse field removes the signal.
    """
    simulation, rows = recipe.simulation, []
    for index in trange(fields, desc="scale and offset", unit="field"):
        rng = scene_generator(recipe.seed, "training", index)
        structure = draw_scene(rng, simulation, recipe.calibration.side_px).structure()
        dose = float(np.exp(rng.uniform(*np.log(recipe.calibration.dose))))
        dark = float(np.exp(rng.uniform(*np.log(simulation.dark_counts))))
        low = expose(structure, dose=dose, dark_counts=dark, rng=rng)
        high = expose(structure, dose=dose * simulation.dose_ratio, dark_counts=dark, rng=rng)
        rows.append((denoise(low).ravel(), high.ravel().astype(np.float64)))
    prediction, truth = (np.concatenate(column).astype(np.float64) for column in zip(*rows, strict=True))
    gain, offset = np.polyfit(prediction, truth, 1)
    return Rescaling(float(gain), float(offset))


def calibrate_ssim(recipe: Recipe, denoise: Denoise) -> tuple[float, SsimSettings, Calibration]:
    """Find the SSIM of adjacent predictions below which a frame is suspect.

    The threshold lies halfway between the empty fields' upper and the signal's lower quantile when
    these leave a gap, and at the signal's quantile otherwise. Source: the paper's Methods, "Quality
    control metrics" (adjacent predictions of a signal movie and of a dark movie).
    """
    settings = recipe.calibration
    scale = SsimSettings(
        normalisation="mean_absolute_deviation", data_range=settings.ssim_data_range, window=SSIM_WINDOW
    )
    signal, doses = _signal_similarity(recipe, denoise, scale)
    dark = _dark_similarity(recipe, denoise, scale)
    floor = float(np.quantile(signal, settings.false_alarm_rate))
    ceiling = float(np.quantile(dark, 1 - settings.false_alarm_rate))
    threshold = round((floor + ceiling) / 2 if ceiling < floor else floor, 4)
    record = Calibration(
        method="SSIM of adjacent predictions, each normalised by its mean absolute deviation, of simulated"
        " signal movies and of simulated empty fields; the threshold is halfway between the signal's"
        f" {settings.false_alarm_rate:g} and the empty fields' {1 - settings.false_alarm_rate:g} quantile"
        " when they leave a gap, else the signal's quantile",
        signal_pairs=len(signal),
        dark_pairs=len(dark),
        signal_quantiles=_quantiles(signal),
        dark_quantiles=_quantiles(dark),
        false_alarm_rate=round(float(np.mean(signal < threshold)), 5),
        auc=round(area_under_curve(signal, dark), 5),
        doses_photons=tuple(round(dose, 3) for dose in doses),
        frame_interval_s=recipe.simulation.frame_interval_s,
        seed=recipe.seed,
    )
    return threshold, scale, record


def adjacent_similarity(movie: NDArray[np.uint16], denoise: Denoise, scale: SsimSettings) -> list[float]:
    """Return the SSIM of every two adjacent predictions of a movie (T, H, W)."""
    planes = [normalise_prediction(denoise(frame), scale.normalisation) for frame in movie]
    return [
        ssim(before, after, data_range=scale.data_range, window=scale.window)
        for before, after in pairwise(planes)
    ]


def area_under_curve(signal: Floats, dark: Floats) -> float:
    """Return the probability that a signal pair is more alike than a dark pair (ties count half)."""
    order = np.sort(dark)
    below, upto = np.searchsorted(order, signal, "left"), np.searchsorted(order, signal, "right")
    return float((below + upto).mean() / (2 * len(dark)))


def _signal_similarity(recipe: Recipe, denoise: Denoise, scale: SsimSettings) -> tuple[Floats, Floats]:
    settings, found = recipe.calibration, []
    doses = np.geomspace(*settings.dose, settings.movies)
    for index in trange(settings.movies, desc="signal movies", unit="movie"):
        rng = _movie_generator(recipe, "signal", index)
        scene = draw_scene(rng, recipe.simulation, settings.side_px)
        movie, _ = simulate_movie(
            scene,
            frames=settings.frames,
            frame_interval_s=recipe.simulation.frame_interval_s,
            dose=doses[index],
            dark_counts=float(np.exp(rng.uniform(*np.log(recipe.simulation.dark_counts)))),
            rng=rng,
        )
        found += adjacent_similarity(movie, denoise, scale)
    return np.asarray(found), doses


def _dark_similarity(recipe: Recipe, denoise: Denoise, scale: SsimSettings) -> Floats:
    settings, found = recipe.calibration, []
    rates = np.geomspace(*settings.dark_counts, settings.movies)
    for index in trange(settings.movies, desc="dark movies", unit="movie"):
        rng = _movie_generator(recipe, "dark", index)
        shape = (settings.frames, settings.side_px, settings.side_px)
        found += adjacent_similarity(rng.poisson(rates[index], shape).astype(np.uint16), denoise, scale)
    return np.asarray(found)


def _movie_generator(recipe: Recipe, kind: str, index: int) -> np.random.Generator:
    purpose: Purpose = "calibration"
    return scene_generator(recipe.seed, purpose, 2 * index + (kind == "dark"))


def _quantiles(values: Floats) -> dict[str, float]:
    return {f"{q:g}": round(float(np.quantile(values, q)), 5) for q in _QUANTILES}
