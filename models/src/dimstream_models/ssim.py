"""SSIM of two frames in plain numpy: the reference that every faster version must equal.

It does not need scipy or scikit-image; the tests compare with the latter.
"""

import numpy as np

from dimstream_models.arithmetic import Array, Float64, over_windows

SSIM_K1, SSIM_K2 = 0.01, 0.03
"""Stabilising constants of SSIM (Wang et al. 2004, doi 10.1109/TIP.2003.819861)."""


def ssim(a: Array, b: Array, *, data_range: float, window: int = 7) -> float:
    """Mean structural similarity of two frames (Wang et al. 2004, doi 10.1109/TIP.2003.819861).

    Equals ``skimage.metrics.structural_similarity`` with its defaults (uniform window, sample covariance,
    mean over the windows inside the frame) within 1e-6. Computed in float64.

    Parameters
    ----------
    a, b
        (H, W), of the same shape.
    data_range
        Difference between the largest and the smallest possible value of pixels; it is never guessed from the
        type.
    window
        Side of the window, px, odd.

    Raises
    ------
    ValueError
        When the shapes differ, the window is even, or a side is shorter than the window.
    """
    return float(ssim_map(a, b, data_range=data_range, window=window).mean())


def ssim_map(a: Array, b: Array, *, data_range: float, window: int = 7) -> Float64:
    """SSIM of each window inside two frames; its mean is `ssim`, which explains the parameters.

    Returns
    -------
    (H - window + 1, W - window + 1) float64
    """
    _require_comparable(a, b, window)
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _window_means(x, window), _window_means(y, window)
    unbiased = window**2 / (window**2 - 1)
    var_x = unbiased * (_window_means(x * x, window) - mean_x * mean_x)
    var_y = unbiased * (_window_means(y * y, window) - mean_y * mean_y)
    covariance = unbiased * (_window_means(x * y, window) - mean_x * mean_y)
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return np.asarray(above / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)))


def _require_comparable(a: Array, b: Array, window: int) -> None:
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"SSIM needs two frames (H, W) of one shape, got {a.shape} and {b.shape}")
    if window % 2 == 0 or window < 3:
        raise ValueError(f"SSIM needs an odd window of at least 3 px, got {window}")
    if min(a.shape) < window:
        raise ValueError(
            f"SSIM with a window of {window} px needs sides of at least {window} px, got {a.shape}"
        )


def _window_means(image: Float64, window: int) -> Float64:
    return over_windows(image, window, np.mean)
