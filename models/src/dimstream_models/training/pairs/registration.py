"""By how much the two images of a pair lie apart, and moving the high dose onto the low."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from dimstream_models.training.pairs.prepared import Counts, ShiftPx

UPSAMPLE: Final = 100  # the peak is sought on a grid of 0.01 px
SMOOTH_PX: Final = 1.5
SPLINE_EDGE_PX: Final = 1  # cut beyond what was uncovered: a spline is less certain where its image ends
NEGLIGIBLE_PX: Final = 0.15
"""Shorter shifts are left: they are within the error of the measurement at one photon per pixel (0.05 px
in the median of 304 x 304 px), and interpolation would only blur the high dose."""


@dataclass(frozen=True)
class Aligned:
    """Two images of one place, of equal shape."""

    low: Counts
    high: Counts
    moved: bool  # whether the high dose was interpolated


def measure_shift(low: NDArray[Any], high: NDArray[Any]) -> ShiftPx | None:
    """Return how far (y, x) the high-dose image must be moved to lie on the low-dose image, px.

    None where one of them shows nothing at all.

    Plain cross-correlation of variance-stabilised images, its peak found by an upsampled Fourier transform
    (Guizar-Sicairos et al. 2008, doi 10.1364/OL.33.000156). Phase correlation, the default of scikit-image,
    weighs all frequencies alike and loses faint images to their noise. Found to the pixel first, then to a
    hundredth on what both images share: what only one of them shows draws the peak towards no shift.
    """
    if not np.ptp(low) or not np.ptp(high):
        return None
    whole = [int(by) for by in _peak(low, high, upsample=1)]
    shared_low = tuple(_overlap(side, by) for side, by in zip(low.shape, whole, strict=True))
    shared_high = tuple(_overlap(side, -by) for side, by in zip(low.shape, whole, strict=True))
    rest = _peak(low[shared_low], high[shared_high], upsample=UPSAMPLE)
    return whole[0] + rest[0], whole[1] + rest[1]


def align(low: Counts, high: Counts, shift: ShiftPx) -> Aligned:
    """Return both images with the high dose moved by `shift` and the borders that it left cropped.

    The high dose is moved, by a cubic spline, because interpolation blurs noise and links its pixels, and the
    high dose has less of it.
    """
    if math.hypot(*shift) <= NEGLIGIBLE_PX:
        return Aligned(low, high, moved=False)
    spline = ndimage.shift(high.astype(float), shift, order=3, mode="mirror")
    moved = np.clip(np.rint(spline), 0, np.iinfo(np.uint16).max).astype(np.uint16)
    covered = tuple(
        _overlap(side, math.copysign(math.ceil(abs(by)) + SPLINE_EDGE_PX, by) if by else 0)
        for side, by in zip(low.shape, shift, strict=True)
    )
    return Aligned(low[covered], moved[covered], moved=True)


def correlation(low: Counts, high: Counts) -> float | None:
    """Return Pearson's correlation of both images, smoothed; None where one of them is constant."""
    if not np.ptp(low) or not np.ptp(high):
        return None
    return float(np.corrcoef(_stabilised(low).ravel(), _stabilised(high).ravel())[0, 1])


def _peak(low: NDArray[Any], high: NDArray[Any], *, upsample: int) -> ShiftPx:
    shift, _, _ = phase_cross_correlation(
        _windowed(low), _windowed(high), upsample_factor=upsample, normalization=None
    )
    return float(shift[0]), float(shift[1])


def _overlap(side: int, by: float) -> slice:
    """Return where an image of that side is still covered by one that was moved by whole pixels."""
    return slice(max(0, int(by)), side + min(0, int(by)))


def _stabilised(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return the smoothed image with Poisson noise of the same size everywhere (Anscombe 1948)."""
    return np.asarray(np.sqrt(ndimage.gaussian_filter(image.astype(float), SMOOTH_PX) + 3 / 8))


def _windowed(image: NDArray[Any]) -> NDArray[np.float64]:
    stabilised = _stabilised(image)
    height, width = stabilised.shape
    return np.asarray((stabilised - stabilised.mean()) * np.outer(np.hanning(height), np.hanning(width)))
