"""What a perfect restoration would score: a truth of photon counts has noise of its own.

The light behind a truth is not known, so a stand-in takes its place: the truth itself, smoothed by the
Gaussian that comes closest to the light. Fresh photon noise on the stand-in gives an image that relates to
it as the truth relates to its light, and figures between the two are the floor.

The stand-in has the truth's mean, and photon noise has the mean as its variance, so the mean square error,
and PSNR with it, is right whatever the smoothing; SSIM, MAE and Pearson follow how well it fits.
`docs/evaluate.md` says how close they come. Nothing here depends on the bundle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SIGMAS_PX = (0.0, *np.geomspace(0.3, 8.0, 20).tolist())

Floats = NDArray[np.float64]


def light_behind(counts: NDArray[Any]) -> Floats:
    """Return an estimate (H, W) of the light that a frame of photon counts was drawn from; same mean.

    A Gaussian whose width minimises the unbiased estimate of the error: for a linear filter S of Poisson
    counts T of light λ, E‖S T - λ‖² = E[‖S T - T‖² + 2 s₀ ΣT - ΣT], with s₀ the filter's central weight
    (Chen 1975, doi 10.1214/aop/1176996359; Hudson 1978, doi 10.1214/aos/1176344065).
    """
    truth = np.asarray(counts, np.float64)

    def risk(sigma: float) -> float:
        error = float(np.square(gaussian_filter(truth, sigma) - truth).mean())
        return error + 2 * _central_weight(sigma) * float(truth.mean())

    smoothed = gaussian_filter(truth, min(SIGMAS_PX, key=risk))
    return np.asarray(smoothed * (truth.mean() / max(float(smoothed.mean()), np.finfo(float).tiny)))


def with_photon_noise(light: Floats, rng: np.random.Generator) -> Floats:
    """Return photon counts (H, W) drawn from the light."""
    return rng.poisson(light).astype(np.float64)


def _central_weight(sigma: float) -> float:
    point = np.zeros(129)
    point[64] = 1
    return float(gaussian_filter(point, sigma)[64] ** 2)  # separable: rows times columns
