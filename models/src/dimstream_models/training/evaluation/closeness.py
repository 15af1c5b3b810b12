"""How close an image comes to its truth, and how close anything could come."""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.errors import NotPhotonCounts
from dimstream_models.training.evaluation.figures import Figure, absent, take
from dimstream_models.training.evaluation.noise_floor import light_behind, with_photon_noise
from dimstream_models.training.metrics.missing_figures import WHY_NONE
from dimstream_models.training.metrics.pixelwise import mae, pearson, psnr, ssim
from dimstream_models.training.pairs.photons import check_photon_counts

Floats = NDArray[np.float64]  # (H, W)
CLOSENESS: Final = ("ssim", "mae", "pearson", "psnr", "lpips")


class Perceptual(Protocol):
    """What `Lpips` is, so that nothing here needs its weights."""

    def __call__(self, prediction: NDArray[Any], truth: NDArray[Any], *, data_range: float) -> float:
        """Return the distance of two images of which the data range is shown as white."""
        ...


def closeness(
    image: Floats, truth: Floats, *, data_range: float, lpips: Perceptual | None
) -> dict[str, Figure]:
    """Return all figures that compare an image with a truth, pixel by pixel or by what a network sees.

    Parameters
    ----------
    image, truth : (H, W) float64
        In the same counts.
    data_range : float
        Of SSIM, PSNR and LPIPS.
    lpips : Perceptual or None
        None: no weights were given.
    """

    def perceived() -> float | None:
        return None if lpips is None else lpips(image, truth, data_range=data_range)

    return {
        "ssim": take(lambda: ssim(image, truth, data_range=data_range)),
        "mae": take(lambda: mae(image, truth)),
        "pearson": take(lambda: pearson(image, truth), otherwise=WHY_NONE["pearson"]),
        "psnr": take(lambda: psnr(image, truth, data_range=data_range), otherwise=WHY_NONE["psnr"]),
        "lpips": take(perceived, otherwise=WHY_NONE["lpips"]),
    }


def floor(
    truth: Floats, *, data_range: float, lpips: Perceptual | None, rng: np.random.Generator
) -> dict[str, Figure]:
    """Return what a perfect restoration would score against a truth of photon counts; see `noise_floor`."""
    try:
        check_photon_counts([truth[None]])
    except NotPhotonCounts as error:
        return absent(CLOSENESS, str(error))
    light = light_behind(truth)
    return closeness(light, with_photon_noise(light, rng), data_range=data_range, lpips=lpips)
