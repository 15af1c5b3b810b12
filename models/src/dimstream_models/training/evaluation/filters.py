"""The classical filters that a network must beat, each at its best.

Each is tuned on the truth and fitted to it with one gain and offset per movie, which flatters it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

Floats = NDArray[np.float64]
Stack = Floats  # (N, H, W)
Filter = Callable[[NDArray[np.float64], float], NDArray[np.float64]]

FILTERS: Mapping[str, tuple[Filter, tuple[float, ...]]] = {
    "gaussian": (lambda x, s: ndimage.gaussian_filter(x, s), (0.8, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0)),
    "median": (lambda x, s: ndimage.median_filter(x, size=int(s)), (3, 5, 7, 9, 11)),
    "non_local_means": (
        lambda x, h: denoise_nl_means(x, patch_size=5, patch_distance=7, h=h, fast_mode=True),
        (0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8),
    ),
    "total_variation": (
        lambda x, w: denoise_tv_chambolle(x, weight=w, max_num_iter=200),
        (0.3, 0.5, 0.8, 1.2, 1.8, 2.7, 4.0, 6.0),
    ),
}


@dataclass(frozen=True)
class Score:
    """How close restored images come to the truth: means over the images."""

    psnr_db: float
    ssim: float
    parameter: float | None = None


def score(restored: Stack, truth: Stack) -> Score:
    """Return PSNR and SSIM against the truth, the data range being the truth's maximum over the stack."""
    data_range = float(truth.max())
    pairs = list(zip(restored, truth, strict=True))
    return Score(
        float(np.mean([peak_signal_noise_ratio(t, r, data_range=data_range) for r, t in pairs])),
        float(np.mean([structural_similarity(t, r, data_range=data_range) for r, t in pairs])),
    )


def fit_gain(restored: Stack, truth: Stack) -> Stack:
    """Return `restored` times the one gain that brings it closest to the truth."""
    return restored * (np.vdot(restored, truth) / max(float(np.vdot(restored, restored)), 1e-12))


def straight_line(restored: Floats, truth: Floats) -> tuple[float, float]:
    """Return gain and offset that bring images closest to the truth; gain 0 where they are constant."""
    centred = restored - restored.mean()
    spread = float(np.vdot(centred, centred))
    gain = float(np.vdot(centred, truth)) / spread if spread else 0.0
    return gain, float(truth.mean() - gain * restored.mean())


def fit_gain_and_offset(restored: Stack, truth: Stack) -> Stack:
    """Return `restored` on the straight line that brings it closest to the truth."""
    gain, offset = straight_line(restored, truth)
    return np.asarray(gain * restored + offset)


def best_filter(name: str, noisy: Stack, truth: Stack, *, tune_on: int = 6) -> Score:
    """Return the score of one filter at the parameter that serves it best on this very truth.

    Parameters
    ----------
    noisy, truth : (N, H, W) float64
        Counts and truth; NLM's and TV's strengths are in units of the noise, sqrt(mean counts).
    tune_on : int
        Images, evenly spread, among which the parameter is chosen by PSNR.
    """
    apply, parameters = FILTERS[name]
    unit = float(np.sqrt(noisy.mean())) if name in ("non_local_means", "total_variation") else 1.0
    chosen = np.linspace(0, len(noisy) - 1, min(tune_on, len(noisy))).astype(int)

    def restore(images: Stack, parameter: float) -> Stack:
        return np.stack([apply(image, parameter * unit) for image in images])

    def psnr(parameter: float) -> float:
        subset = truth[chosen]
        return score(fit_gain_and_offset(restore(noisy[chosen], parameter), subset), subset).psnr_db

    best = max(parameters, key=psnr)
    result = score(fit_gain_and_offset(restore(noisy, best), truth), truth)
    return Score(result.psnr_db, result.ssim, best)
