"""Differences between a prediction and its truth, pixel by pixel: MAE, SSIM, PSNR, Pearson correlation.

Source: the paper's Methods, "Quality control metrics". SSIM is scikit-image's function, and PSNR equals its
function. The data range is always given: otherwise, scikit-image assumes 65535 for uint16, and any two dim
images look alike.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from skimage.metrics import structural_similarity

from dimstream_models.training.metrics.images import (
    Floats,
    Image,
    as_floats,
    require_range,
    require_same_shape,
)

SSIM_WINDOW: Final = 7


def mae(prediction: Image, truth: Image) -> float:
    """Return the mean absolute difference of two images, in their own unit.

    Parameters
    ----------
    prediction, truth : (H, W) or (Z, H, W)

    Raises
    ------
    CannotEvaluate
        When shapes differ or pixels are not finite.
    """
    p, t = _pair(prediction, truth)
    return float(np.abs(p - t).mean())


def psnr(prediction: Image, truth: Image, *, data_range: float) -> float | None:
    """Return the peak signal-to-noise ratio, dB; None when the images are equal.

    Parameters
    ----------
    prediction, truth : (H, W) or (Z, H, W)
    data_range : float
        The peak: difference between the smallest and the largest possible value of the truth.

    Raises
    ------
    CannotEvaluate
        When shapes differ, pixels are not finite, or the data range is not positive.
    """
    p, t = _pair(prediction, truth)
    error = float(np.square(p - t).mean())
    return None if error == 0 else float(10 * np.log10(require_range(data_range) ** 2 / error))


def ssim(prediction: Image, truth: Image, *, data_range: float) -> float:
    """Return the mean structural similarity (Wang et al. 2004, doi 10.1109/TIP.2003.819861).

    As scikit-image's default: a uniform window of 7 px, sample covariance.

    Parameters
    ----------
    prediction, truth : (H, W) or (Z, H, W)
    data_range : float
        Difference between the smallest and the largest possible value of the truth.

    Raises
    ------
    CannotEvaluate
        When shapes differ, a side is shorter than 7 px, pixels are not finite, or the data range is not
        positive.
    """
    p, t = _pair(prediction, truth, min_side=SSIM_WINDOW)
    return float(structural_similarity(t, p, data_range=require_range(data_range), win_size=SSIM_WINDOW))


def pearson(prediction: Image, truth: Image) -> float | None:
    """Return Pearson's correlation of the pixels; None when an image is constant.

    Parameters
    ----------
    prediction, truth : (H, W) or (Z, H, W)

    Raises
    ------
    CannotEvaluate
        When shapes differ or pixels are not finite.
    """
    p, t = _pair(prediction, truth)
    if np.ptp(p) == 0 or np.ptp(t) == 0:
        return None
    p, t = _centred(p), _centred(t)
    return float(np.clip(np.vdot(p, t) / np.sqrt(np.vdot(p, p) * np.vdot(t, t)), -1, 1))


def _pair(prediction: Image, truth: Image, *, min_side: int = 1) -> tuple[Floats, Floats]:
    require_same_shape(prediction, truth)
    return as_floats(prediction, min_side=min_side), as_floats(truth, min_side=min_side)


def _centred(values: Floats) -> Floats:
    return np.asarray(
        (values - values.mean()) / np.ptp(values)
    )  # divided first, so that no square underflows or overflows
