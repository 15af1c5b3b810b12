"""A simulated experiment on disk: measurement days of pairs, a signal movie, a dark movie."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from dimstream_models.training.errors import TrainingError
from dimstream_models.training.settings import SimulationSettings
from dimstream_models.training.simulation.er_scenes import PIXEL_SIZE_NM, expose, simulate_movie
from dimstream_models.training.simulation.training_samples import draw_scene, scene_generator

DARK_COUNTS = 0.01  # counts/px of the detector without light
DRIFT_PX = 1.0  # standard deviation of the shift between the images of a pair
MOVIE_FRAMES = 24
BRIGHTEST = 1e6  # photons; real counters saturate far below
_MOVIE_FIELD = 1_000_000  # scene numbers of movies are far from those of pairs


def simulate_experiment(
    folder: Path,
    *,
    days: int,
    fields: int,
    side_px: int,
    dose: float,
    seed: int,
    settings: SimulationSettings,
) -> None:
    """Write `day-1/low/field-00.tif`, `day-1/high/…`, …, `signal.tif` and `dark.tif` into a new folder.

    The folder appears only when it is complete.

    Each pair shows one field of view at low dose and at high dose. Between its two images the stage drifts by
    about a pixel, so that registration has an effect.

    Parameters
    ----------
    folder : Path
        Must not exist.
    days, fields : int
        Measurement days, and fields of view on each.
    side_px : int
        Side of every image, 20 nm pixels.
    dose : float
        Photons per pixel on a tubule at low dose; at high dose `settings.dose_ratio` times as many.

    Raises
    ------
    TrainingError
        When the folder exists, or there is nothing to simulate.
    """
    if folder.exists():
        raise TrainingError(
            f"expected a new folder, got {folder}, which exists already: choose another --out"
        )
    if min(days, fields) < 1 or side_px < 64 or not 0 < dose <= BRIGHTEST:
        raise TrainingError(
            "expected at least one day and field, a side of at least 64 px and a dose above 0"
            f" and up to {BRIGHTEST:g}, got {days}, {fields}, {side_px} and {dose}"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        part = Path(scratch) / folder.name
        _write_pairs(part, days=days, fields=fields, side_px=side_px, dose=dose, seed=seed, settings=settings)
        _write_movies(part, side_px=side_px, dose=dose, seed=seed, settings=settings)
        part.rename(folder)


def _write_pairs(
    folder: Path,
    *,
    days: int,
    fields: int,
    side_px: int,
    dose: float,
    seed: int,
    settings: SimulationSettings,
) -> None:
    with tqdm(total=days * fields, desc="pairs", unit="pair") as bar:
        for index in range(days * fields):
            rng = scene_generator(seed, "experiment", index)
            low, high = _expose_pair(rng, side_px=side_px, dose=dose, settings=settings)
            for kind, image in (("low", low), ("high", high)):
                name = f"day-{index // fields + 1}/{kind}/field-{index % fields:02d}.tif"
                _write(folder / name, image, settings)
            bar.update()


def _write_movies(
    folder: Path, *, side_px: int, dose: float, seed: int, settings: SimulationSettings
) -> None:
    rng = scene_generator(seed, "experiment", _MOVIE_FIELD)
    signal, _ = simulate_movie(
        draw_scene(rng, settings, side_px),
        frames=MOVIE_FRAMES,
        frame_interval_s=settings.frame_interval_s,
        dose=dose,
        dark_counts=DARK_COUNTS,
        rng=rng,
    )
    _write(folder / "signal.tif", signal, settings)
    _write(folder / "dark.tif", rng.poisson(DARK_COUNTS, signal.shape).astype(np.uint16), settings)


def _expose_pair(
    rng: np.random.Generator, *, side_px: int, dose: float, settings: SimulationSettings
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    structure = draw_scene(rng, settings, side_px).structure()
    drifted = ndimage.shift(structure, rng.normal(0, DRIFT_PX, 2), order=1, mode="nearest")
    low = expose(structure, dose=dose, dark_counts=DARK_COUNTS, rng=rng)
    return low, expose(drifted, dose=dose * settings.dose_ratio, dark_counts=DARK_COUNTS, rng=rng)


def _write(path: Path, image: NDArray[np.uint16], settings: SimulationSettings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = {
        "PhysicalSizeX": PIXEL_SIZE_NM / 1000,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": PIXEL_SIZE_NM / 1000,
        "PhysicalSizeYUnit": "µm",
    }
    if image.ndim == 2:
        metadata = {"axes": "YX", **scale}
    else:
        interval = {"TimeIncrement": settings.frame_interval_s, "TimeIncrementUnit": "s"}
        metadata = {"axes": "TYX", **scale, **interval}
    tifffile.imwrite(path, image, ome=True, compression="zlib", photometric="minisblack", metadata=metadata)
