"""The shift between the two images of a pair, and its correction by moving the high-dose image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from dimstream_models.training.pairs.prepared import Counts, ShiftPx

UPSAMPLE: Final = 100  # the peak is located on a grid of 0.01 px
SMOOTH_PX: Final = 1.5
BLOCK_PX: Final = 16  # wider than the correlation by smoothing and optics
NEGLIGIBLE_PX: Final = 0.1  # shorter shifts are not corrected, to avoid an interpolation
CERTAIN: Final = 6.0  # squared shift over squared error at which it is significant: by chance, 95 % are below
MIRRORED_PX: Final = 32  # border that is added for a Fourier shift, so that opposite sides do not mix
EDGE_PX: Final = (
    1  # cropped in addition to uncovered pixels: near the border, the interpolation is less accurate
)


@dataclass(frozen=True)
class Shift:
    """The shift by which the high-dose image must be moved onto the low-dose image."""

    px: ShiftPx  # (down, right)
    error_px: ShiftPx  # standard error of each

    @property
    def length_px(self) -> float:
        """Distance between the images."""
        return math.hypot(*self.px)

    @property
    def certain(self) -> bool:
        """Whether the image must be moved: the shift is neither negligible nor within its error."""
        squares = sum((by / max(error, 1e-9)) ** 2 for by, error in zip(self.px, self.error_px, strict=True))
        return self.length_px > NEGLIGIBLE_PX and squares > CERTAIN


@dataclass(frozen=True)
class Aligned:
    """Two images of one place, of equal shape."""

    low: Counts
    high: Counts
    shift: Shift | None  # as measured; None: not measured
    moved: bool  # whether the high dose was interpolated


def measure_shift(low: NDArray[Any], high: NDArray[Any]) -> Shift | None:
    """Return the shift of the high-dose image, px; None if an image shows nothing at all.

    Both are (H, W) counts.

    Plain cross-correlation of variance-stabilised images; its peak is found by an upsampled Fourier transform
    (Guizar-Sicairos et al. 2008, doi 10.1364/OL.33.000156). Phase correlation, the default of scikit-image,
    gives all frequencies the same weight and fails for noisy images. The shift is found to the pixel first.
    Then it is refined to 0.01 px on the region that both images show, because the rest biases the peak
    towards 0.
    """
    if not np.ptp(low) or not np.ptp(high):
        return None
    whole = _peak(_windowed(low), _windowed(high), upsample=1)
    seen_low, seen_high = (
        _windowed(image[tuple(_covered(side, sign * by) for side, by in zip(low.shape, whole, strict=True))])
        for image, sign in ((low, 1), (high, -1))
    )
    rest = _peak(seen_low, seen_high, upsample=UPSAMPLE)
    return Shift((whole[0] + rest[0], whole[1] + rest[1]), _error(seen_low, seen_high, rest))


def align(low: Counts, high: Counts, shift: Shift | None) -> Aligned:
    """Return both images, (H, W) counts, cropped, with the high dose moved if the shift is significant.

    The high dose is moved because an interpolation harms it less. A shift within its error is not corrected,
    because that would make the pair worse.
    """
    if shift is None or not shift.certain:
        return Aligned(low, high, shift, moved=False)
    moved = np.clip(np.rint(_move(high, shift.px)), 0, np.iinfo(np.uint16).max).astype(np.uint16)
    cut = (math.copysign(math.ceil(abs(by)) + EDGE_PX, by) if by else 0 for by in shift.px)
    covered = tuple(_covered(side, by) for side, by in zip(low.shape, cut, strict=True))
    return Aligned(low[covered], moved[covered], shift, moved=True)


def _move(image: Counts, shift: ShiftPx) -> NDArray[np.float64]:
    """Return the image (H, W) moved by a Fourier shift, which preserves photon noise in the finest detail.

    A spline does not: half-way between pixels it removes four fifths of this noise. Metrics need it to
    recognise photon counts and to measure the resolution.
    """
    wide = np.pad(image.astype(float), MIRRORED_PX, mode="symmetric")
    moved = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(wide), shift)).real
    return np.asarray(moved[MIRRORED_PX:-MIRRORED_PX, MIRRORED_PX:-MIRRORED_PX])


def correlation(low: Counts, high: Counts) -> float | None:
    """Return Pearson's correlation of two smoothed images, (H, W) counts; None if one is constant."""
    if not np.ptp(low) or not np.ptp(high):
        return None
    return float(np.corrcoef(_stabilised(low).ravel(), _stabilised(high).ravel())[0, 1])


def _peak(low: NDArray[np.float64], high: NDArray[np.float64], *, upsample: int) -> ShiftPx:
    shift, _, _ = phase_cross_correlation(low, high, upsample_factor=upsample, normalization=None)
    return float(shift[0]), float(shift[1])


def _error(low: NDArray[np.float64], high: NDArray[np.float64], shift: ShiftPx) -> ShiftPx:
    """Return the standard error of a shift, from the residual of both images.

    At the peak, the residual weighted with the gradient sums to 0. The scatter of this sum is estimated from
    the sums of blocks, because the residual's noise is stronger where the image is bright, and correlated
    between neighbours (Conley 1999, doi 10.1016/S0304-4076(98)00084-0).
    """
    moved = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(high), shift)).real
    scale = (low * moved).sum() / (moved**2).sum()
    residual = low - scale * moved
    errors = []
    for gradient in np.gradient(moved):
        strayed = math.sqrt((_block_sums(residual * gradient) ** 2).sum())
        errors.append(float(strayed / abs(scale * (gradient**2).sum())))
    return errors[0], errors[1]


def _block_sums(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums over blocks of an image (H, W); blocks at the far borders are smaller."""
    starts = (np.arange(0, side, BLOCK_PX) for side in image.shape)
    return np.add.reduceat(np.add.reduceat(image, next(starts), axis=0), next(starts), axis=1)


def _covered(side: int, by: float) -> slice:
    """Return the part of a side that is still covered after a move by whole pixels."""
    return slice(max(0, int(by)), side + min(0, int(by)))


def _stabilised(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return the smoothed image (H, W) with Poisson noise of equal variance everywhere (Anscombe 1948)."""
    return np.asarray(np.sqrt(ndimage.gaussian_filter(image.astype(float), SMOOTH_PX) + 3 / 8))


def _windowed(image: NDArray[Any]) -> NDArray[np.float64]:
    stabilised = _stabilised(image)
    height, width = stabilised.shape
    return np.asarray((stabilised - stabilised.mean()) * np.outer(np.hanning(height), np.hanning(width)))
