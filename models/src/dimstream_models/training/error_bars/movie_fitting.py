"""The fit of error bars to recorded movies: the squared error is estimated from photons set aside.

This is for models without training data, such as imported weights. From noisy targets, only means of squares
can be estimated. So one error bar is the root mean square error, whatever the shape of its distribution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from dimstream_models.bundle import apply_steps, scale_factor
from dimstream_models.training.error_bars.fitting import Effort, train
from dimstream_models.training.error_bars.movies import read_movie
from dimstream_models.training.error_bars.network import ErrorBarNetwork
from dimstream_models.training.error_bars.samples import Judged
from dimstream_models.training.errors import CannotCalibrate
from dimstream_models.training.pairs.photon_split import split_photons

SHARES: Final = (0.5, 0.7, 0.85)  # share of the photons in the bundle's input
DOSES: Final = (1.0, 0.5, 0.25)  # range of the share of each frame's photons, as after bleaching


@dataclass(frozen=True, eq=False)
class Divided:
    """The bundle's input, (H, W) photons, its output, and the other photons on the same scale.

    Parameters
    ----------
    target, noise : ndarray
        (H, W), photons at the dose of `counts`, and the variance of their own noise.
    """

    counts: NDArray[np.float32]
    prediction: NDArray[np.float32]
    target: NDArray[np.float32]
    noise: NDArray[np.float32]


def fit_to_movies(
    judged: Judged, paths: Sequence[Path], *, seed: int, effort: Effort
) -> tuple[ErrorBarNetwork, Judged]:
    """Return an error-bar network, and the bundle with its scale measured on these movies.

    Raises
    ------
    CannotCalibrate
        When the denoised counts do not depend on the photons.
    InvalidPairs, NotPhotonCounts
        When a movie cannot be used.
    """
    rng = np.random.default_rng(seed)
    parts = [part for path in paths for part in _divided(judged, path, rng)]
    judged = replace(judged, counts_per_photon=_counts_per_photon(judged, parts))
    gain = scale_factor(judged.bundle.postprocessing)
    torch.manual_seed(seed)
    network = ErrorBarNetwork(
        scale=gain / judged.counts_per_photon,
        offset=(judged.bundle.offset or 0.0) / judged.counts_per_photon,
    )

    def loss() -> Tensor:
        chosen = [parts[int(n)] for n in rng.integers(0, len(parts), effort.batch)]
        counts, prediction, squared, weight = _batch(judged, chosen, gain, rng, effort.patch_px)
        variance = network(counts, prediction) ** 2
        trust = (variance / (variance + weight)).detach() ** 2
        score: Tensor = (trust * (torch.log(variance) + squared / variance)).sum() / trust.sum()
        return score

    return train(network, loss, effort), judged


def _divided(judged: Judged, path: Path, rng: np.random.Generator) -> Iterator[Divided]:
    for frame in tqdm(read_movie(path), desc=path.name, unit="frame"):
        for dose, share in zip(DOSES, rng.permutation(SHARES), strict=True):
            photons, _ = split_photons(frame, dose, rng)
            shown, other = split_photons(photons, float(share), rng)
            factor = share / (1 - share)
            counts = shown.astype(np.float32)
            prediction = judged.denoise(apply_steps(judged.bundle.preprocessing, counts))
            target, noise = other * factor, other * factor**2
            yield Divided(counts, prediction, target.astype(np.float32), noise.astype(np.float32))


def _counts_per_photon(judged: Judged, parts: Sequence[Divided]) -> float:
    """Return the slope of denoised counts against light, corrected for noise."""
    above = sum(float((judged.denoised(part.prediction) * part.target).sum()) for part in parts)
    below = sum(float((part.target**2 - part.noise).sum()) for part in parts)
    if not (above > 0 and below > 0):
        raise CannotCalibrate(
            "expected denoised counts that increase with the movies' photons, but they do not: give movies "
            "of a sample for which the model was trained"
        )
    return above / below


def _batch(
    judged: Judged, chosen: Sequence[Divided], gain: float, rng: np.random.Generator, patch_px: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return patches (B, 1, y, x): counts, prediction, squared error and noise; the last two are in the
    network's unit squared."""
    side = min(patch_px, min(min(part.counts.shape) for part in chosen) // 8 * 8)
    photon = judged.counts_per_photon / gain
    patches = []
    for part in chosen:
        height, width = part.counts.shape
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
        here = (slice(top, top + side), slice(left, left + side))
        denoised = judged.denoised(part.prediction)[here] / judged.counts_per_photon
        squared = (denoised - part.target[here]) ** 2 - part.noise[here]
        typical = np.maximum(denoised, 0.01) * float(part.noise.sum() / max(part.target.sum(), 1.0))
        patches.append((part.counts[here], part.prediction[here], squared * photon**2, typical * photon**2))
    counts, prediction, error, noise = (
        torch.from_numpy(np.stack(images).astype(np.float32))[:, None]
        for images in zip(*patches, strict=True)
    )
    return counts, prediction, error, noise
