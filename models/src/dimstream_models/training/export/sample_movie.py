"""The sample movie in a bundle of a simulated recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from dimstream_models.training.settings import SimulationSettings
from dimstream_models.training.simulation.er_scenes import PIXEL_SIZE_NM, Scene, expose
from dimstream_models.training.simulation.training_samples import scene_generator

FRAMES = 48
EMPTY = slice(30, 40)  # frames in which the stage has left the cell
DOSE = 1.2
SIDE_PX = 256
SCENE = 1
DARK_COUNTS = 0.01
MOVIE, TRUTH = "sample/movie.ome.tif", "sample/truth.ome.tif"

Movie = NDArray[np.uint16]


def simulate_sample(simulation: SimulationSettings, *, seed: int) -> tuple[Movie, Movie]:
    """Return the sample movie's counts and its truth in high-dose counts, both (T, H, W) uint16.

    In some frames in the middle, the field of view is empty, as if the stage had moved away from the cell.
    """
    rng = scene_generator(seed, "sample", SCENE)
    scene = Scene.random(rng, (SIDE_PX, SIDE_PX))
    interval = simulation.frame_interval_s
    structure = np.stack([scene.structure(t * interval) for t in range(FRAMES)])
    structure[EMPTY] = 0
    counts = np.stack([expose(s, dose=DOSE, dark_counts=DARK_COUNTS, rng=rng) for s in structure])
    truth = np.rint(structure * (DOSE * simulation.dose_ratio)).astype(np.uint16)
    return counts, truth


def write_sample(folder: Path, movie: Movie, truth: Movie, *, frame_interval_s: float) -> dict[str, Path]:
    """Write both movies, (T, H, W) uint16 photon counts, as OME-TIFF; return them as a bundle's
    attachments."""
    written = {}
    for name, frames in ((MOVIE, movie), (TRUTH, truth)):
        path = written[name] = folder / Path(name).name
        with tifffile.TiffWriter(path, ome=True) as file:
            file.write(
                frames,
                compression="zlib",
                predictor=True,
                photometric="minisblack",
                metadata={
                    "axes": "TYX",
                    "PhysicalSizeX": PIXEL_SIZE_NM / 1000,
                    "PhysicalSizeXUnit": "µm",
                    "PhysicalSizeY": PIXEL_SIZE_NM / 1000,
                    "PhysicalSizeYUnit": "µm",
                    "TimeIncrement": frame_interval_s,
                    "TimeIncrementUnit": "s",
                },
            )
    return written
