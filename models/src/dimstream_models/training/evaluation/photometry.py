"""Does the brightness of a region stay what it is? Measured on a static simulated field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.evaluation.restoring import Restore
from dimstream_models.training.simulation.scenes import scene_generator
from dimstream_models.training.simulation.simulator import Scene, expose

REGION_PX = 64
SPECK_PHOTONS = 200.0


@dataclass(frozen=True)
class Photometry:
    """Frame-to-frame variation of regions' brightness, as shares of it."""

    jitter: float  # standard deviation over mean of the prediction, median over regions
    photon_noise: float  # the same of the counts themselves
    worst_ratio: float  # the largest jitter over photon noise among the regions
    speck: float  # largest change of a region's mean when a bright speck shines elsewhere


def measure_photometry(restore: Restore, *, seed: int, dose: float = 1.0, frames: int = 24) -> Photometry:
    """Denoise one static field again and again, then with a bright speck that comes and goes."""
    rng = scene_generator(seed, "validation", 0)
    structure = Scene.random(rng, (256, 256)).structure()
    counts = [expose(structure, dose=dose, dark_counts=0.01, rng=rng) for _ in range(frames)]
    spot = rng.poisson(_speck(structure.shape, SPECK_PHOTONS)).astype(np.uint16)
    plain = np.stack([_regions(restore(frame)) for frame in counts])  # (T, regions)
    specked = np.stack([_regions(restore(frame + spot)) for frame in counts])
    raw = np.stack([_regions(frame.astype(np.float32)) for frame in counts])
    lit = raw.mean(axis=0) > 0.25 * raw.mean()  # regions with something in them
    lit[-1] = False  # the speck's own
    jitter, noise = (x.std(axis=0, ddof=1)[lit] / x.mean(axis=0)[lit] for x in (plain, raw))
    change = np.abs(specked.mean(axis=0) / plain.mean(axis=0) - 1)[lit]
    return Photometry(
        float(np.median(jitter)), float(np.median(noise)), float((jitter / noise).max()), float(change.max())
    )


def _regions(image: NDArray[np.float32]) -> NDArray[np.float64]:
    rows, columns = (side // REGION_PX for side in image.shape)
    blocks = image.astype(np.float64).reshape(rows, REGION_PX, columns, REGION_PX)
    return np.asarray(blocks.mean(axis=(1, 3)).ravel())


def _speck(shape: tuple[int, ...], peak: float) -> NDArray[np.float64]:
    y, x = np.indices(shape)
    centre = [side - REGION_PX / 2 for side in shape]
    return np.asarray(peak * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * 1.5**2)))
