"""Where two predictions agree: SSIM as a map, and what both halves of the photons disagree on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.arithmetic import SSIM_K1, SSIM_K2, Array, Float64
from dimstream_models.bundle import SsimSettings
from dimstream_models.evidence.support import DISAGREE, PREDICTED, UNSUPPORTED


def ssim_map(a: Array, b: Array, settings: SsimSettings) -> Float64:
    """Return the SSIM of each window that lies inside; its mean is `arithmetic.ssim`.

    Parameters
    ----------
    a, b
        (H, W), normalised predictions.

    Returns
    -------
    (H - window + 1, W - window + 1) float64
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    window = settings.window
    unbiased = window**2 / (window**2 - 1)
    mean_x, mean_y = _means(x, window), _means(y, window)
    variances = unbiased * (_means(x * x + y * y, window) - mean_x**2 - mean_y**2)
    covariance = unbiased * (_means(x * y, window) - mean_x * mean_y)
    c1, c2 = (SSIM_K1 * settings.data_range) ** 2, (SSIM_K2 * settings.data_range) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return np.asarray(above / ((mean_x**2 + mean_y**2 + c1) * (variances + c2)))


def witnessed_support(bits: NDArray[np.uint8], similarity: Float64, window: int) -> NDArray[np.uint8]:
    """Return a support map with what both halves of the photons disagree on marked as unsupported.

    Parameters
    ----------
    bits
        (H, W), see `evidence.support`.
    similarity
        From `ssim_map`, of the predictions of both halves.
    window
        Its side, px; at the borders the nearest whole window decides.
    """
    unlike = np.pad(similarity, window // 2, mode="edge").astype(np.float32) < np.float32(DISAGREE)
    disagreed = (bits & PREDICTED).astype(bool) & unlike
    return np.where(disagreed, bits | UNSUPPORTED, bits).astype(np.uint8)


def unsupported_share(prediction: Array, bits: NDArray[np.uint8]) -> float:
    """Return the share of the predicted signal on pixels that are unsupported; 0 when none is predicted.

    Parameters
    ----------
    prediction
        (H, W); signal is what `evidence.support.support` takes for it, on whichever scale.
    """
    centred = prediction.astype(np.float64) - prediction.mean(dtype=np.float64)
    signal = np.maximum(centred - np.abs(centred).mean(), 0)
    unsupported = (bits & UNSUPPORTED).astype(bool)
    return float(signal[unsupported].sum() / max(float(signal.sum()), 1e-12))


def _means(image: Float64, window: int) -> Float64:
    """Return the means of all windows that lie inside."""
    reach = window // 2
    return np.asarray(ndimage.uniform_filter(image, window)[reach:-reach, reach:-reach])
