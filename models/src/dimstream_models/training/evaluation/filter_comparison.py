"""A model on pairs with a truth, compared with its own input and with the best tuned filter.

Also the photometry: whether regions keep their brightness, on a static simulated field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.filters import Example, TunedFilter, fitted_error, tune_filters
from dimstream_models.training.evaluation.gains import Margin, margin, sentence
from dimstream_models.training.evaluation.restoring import Restore
from dimstream_models.training.simulation.er_scenes import Scene, expose
from dimstream_models.training.simulation.training_samples import scene_generator

REGION_PX = 64
SPECK_PHOTONS = 200.0


@dataclass(frozen=True)
class Photometry:
    """Frame-to-frame variation of regions' brightness, relative to the brightness."""

    jitter: float  # standard deviation over mean of the prediction, median over regions
    photon_noise: float  # the same of the counts themselves
    worst_ratio: float  # the largest ratio of jitter to photon noise among the regions
    speck: float  # largest change of a region's mean when a bright speck is elsewhere in the field


def measure_photometry(restore: Restore, *, seed: int, dose: float = 1.0, frames: int = 24) -> Photometry:
    """Measure photometry on one static field, denoised many times, then with a bright speck in some
    frames."""
    rng = scene_generator(seed, "validation", 0)
    structure = Scene.random(rng, (256, 256)).structure()
    counts = [expose(structure, dose=dose, dark_counts=0.01, rng=rng) for _ in range(frames)]
    spot = rng.poisson(_speck(structure.shape, SPECK_PHOTONS)).astype(np.uint16)
    plain = np.stack([_regions(restore(frame)) for frame in counts])  # (T, regions)
    specked = np.stack([_regions(restore(frame + spot)) for frame in counts])
    raw = np.stack([_regions(frame.astype(np.float32)) for frame in counts])
    lit = raw.mean(axis=0) > 0.25 * raw.mean()  # regions that contain structure
    lit[-1] = False  # the region of the speck
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


@dataclass(frozen=True)
class Standing:
    """Margins over the noisy image and over the best filter, after a fit of each to the truth's scale."""

    noisy: Margin
    best: Margin
    tuned: TunedFilter

    def figures(self, name: str) -> dict[str, float]:
        """Return the margins as figures for a bundle, and the name of the filter."""
        return {
            **self.noisy.figures(f"{name}_over_noisy"),
            **self.best.figures(f"{name}_margin"),
            f"{name}_filter_{self.tuned.name}": self.tuned.strength,
        }

    def sentence(self, what: str) -> str:
        """Return the sentence; `what` is the name of one image."""
        return sentence(self.noisy.images, what, self.noisy, self.best, str(self.tuned))


def measure_standing(
    restore: Restore,
    judged: Iterable[Example],
    *,
    tuned_on: Sequence[Example],
    noise: Sequence[float] | None = None,
) -> Standing:
    """Return the margins of the model on some images, with filters tuned on others.

    Parameters
    ----------
    restore : Restore
        The model.
    judged : iterable of (noisy, truth)
        Images (H, W), read one by one.
    tuned_on : sequence of (noisy, truth)
        Other images, on which the filters are tuned.
    noise : sequence of float, optional
        Variance of each judged truth's own noise, if it is known and matters.

    Raises
    ------
    CannotEvaluate
        When there are no images to judge or to tune on.
    """
    if not tuned_on:
        raise CannotEvaluate("expected images to tune filters on, got none")
    best = tune_filters(tuned_on)[0]
    errors = [
        [fitted_error(image, truth) for image in (restore(noisy), noisy, best(noisy))]
        for noisy, truth in tqdm(judged, desc="against filters", unit="image")
    ]
    if not errors:
        raise CannotEvaluate("expected images to judge on, got none")
    ours, raw, filtered = np.asarray(errors).T.tolist()
    return Standing(margin(ours, raw, noise=noise), margin(ours, filtered, noise=noise), best)
