"""Libraries of simulated scenes, drawn on every core; scene i of a stream is the same on any machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dimstream_models.training.settings import SimulationSettings
from dimstream_models.training.simulation.simulator import Kind, MovingScene, Scene
from dimstream_models.training.simulation.specimens import draw_specimen, smaller_er

FEW_FIELDS = 16  # are drawn sooner than processes start
Purpose = Literal["training", "validation", "calibration", "sample", "experiment"]
_STREAMS: dict[Purpose, int] = {
    "training": 0,
    "validation": 1,
    "calibration": 2,
    "sample": 3,
    "experiment": 4,
}


def scene_generator(seed: int, purpose: Purpose, index: int) -> np.random.Generator:
    """Return the random generator of one scene; no two purposes ever share a scene."""
    return np.random.default_rng((seed, _STREAMS[purpose], index))


def draw_scene(rng: np.random.Generator, settings: SimulationSettings, side_px: int) -> MovingScene:
    """Draw a scene of the kinds that the settings ask for."""
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
    """Return `fields` noise-free scenes, (N, H, W), a typical tubule's peak is 1."""
    jobs = [(seed, purpose, i, settings) for i in range(fields)]
    if fields <= FEW_FIELDS:
        return np.stack([_draw_field(job) for job in jobs])
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_end_with_parent) as pool:
        images = pool.map(_draw_field, jobs, chunksize=8)
        return np.stack(list(tqdm(images, total=fields, desc=f"{purpose} scenes", unit="field")))


def _end_with_parent() -> None:
    """Let this worker end when its parent is killed: it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # workers are started by one

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw_field(job: tuple[int, Purpose, int, SimulationSettings]) -> NDArray[np.float16]:
    seed, purpose, index, settings = job
    rng = scene_generator(seed, purpose, index)
    scene = draw_scene(rng, settings, settings.side_px)
    return scene.structure(rng.uniform(0, 300)).astype(np.float16)
