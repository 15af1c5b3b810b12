"""The similarity of two frames of photon counts, and where the sample moved between them, without a network.

Both frames are smoothed. The effect of photon noise on smoothed counts is known, and is subtracted. So the
figures are comparable at any dose.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]

DETAIL_PX: Final = 2.0  # Gaussian that keeps the sample's structure
LOCAL_PX: Final = 12.0  # Gaussian whose image is subtracted: stray light is wider
SMOOTH_PX: Final = 1.5  # Gaussian for finding moved pixels
LEAST_VARIANCE: Final = 1e-3  # least variance of smoothed counts, where there is no light at all


def likeness(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the correlation of the light in two frames (H, W), corrected for photon noise.

    It is 1 for a scene that does not move, however faint. It is 0 for two different scenes, and if a frame
    shows none.
    """
    images = [_detail(frame) for frame in (first, second)]
    noise = [float(frame.mean()) * _kept_variance(DETAIL_PX) for frame in (first, second)]
    light = [float(image.var()) - own for image, own in zip(images, noise, strict=True)]
    if min(light) <= 0:
        return 0.0
    return float(np.mean(images[0] * images[1]) / np.sqrt(light[0] * light[1]))


def unmoved(first: NDArray[Any], second: NDArray[Any], errors: float) -> NDArray[np.bool_]:
    """Return where two images (H, W) of equal brightness differ by no more than their photon noise, (H, W).

    Parameters
    ----------
    first, second : (H, W) arrays
        Counts; the second may be scaled to the brightness of the first.
    errors : float
        Largest difference due to noise, in standard errors of the smoothed difference.
    """
    smooth = [ndimage.gaussian_filter(np.asarray(image, np.float64), SMOOTH_PX) for image in (first, second)]
    variance = np.maximum((smooth[0] + smooth[1]) * _kept_variance(SMOOTH_PX), LEAST_VARIANCE)
    return np.asarray(np.abs(smooth[0] - smooth[1]) <= errors * np.sqrt(variance))


def _detail(frame: NDArray[Any]) -> Floats:
    counts = np.asarray(frame, np.float64)
    found = ndimage.gaussian_filter(counts, DETAIL_PX) - ndimage.gaussian_filter(counts, LOCAL_PX)
    return np.asarray(found - found.mean())


def _kept_variance(sigma: float) -> float:
    """Return the share of white noise's variance that remains after a Gaussian of this width."""
    return 1 / (4 * np.pi * sigma**2)
