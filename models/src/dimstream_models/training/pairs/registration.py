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
BLOCK_PX: Final = 16  # wider than what smoothing and optics link
NEGLIGIBLE_PX: Final = 0.1  # shorter shifts are not worth an interpolation
CERTAIN: Final = (
    6.0  # squared shift over squared error from which on it is no accident: 95 % of chance stay below
)
MIRRORED_PX: Final = 32  # border that a Fourier shift is given, so that opposite sides do not meet
EDGE_PX: Final = 1  # cut beyond what was uncovered: the move is less certain where the image ends


@dataclass(frozen=True)
class Shift:
    """How far the high-dose image must be moved to lie on the low-dose image."""

    px: ShiftPx  # (down, right)
    error_px: ShiftPx  # standard error of each

    @property
    def length_px(self) -> float:
        """How far apart the images lie."""
        return math.hypot(*self.px)

    @property
    def certain(self) -> bool:
        """Whether the image is to be moved: further than nothing worth it, and than its error explains."""
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
    """Return how far the high-dose image must be moved, px; None where an image shows nothing at all.

    Both are (H, W) counts.

    Plain cross-correlation of variance-stabilised images, its peak found by an upsampled Fourier transform
    (Guizar-Sicairos et al. 2008, doi 10.1364/OL.33.000156). Phase correlation, the default of scikit-image,
    weighs all frequencies alike and loses faint images to their noise. Found to the pixel first, then to a
    hundredth on what both images share: what only one of them shows draws the peak towards no shift.
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
    """Return both images, (H, W) counts, the high dose moved where the shift is certain, borders cropped.

    The high dose is moved, as it has less noise to suffer from it. An uncertain shift is left: moved by mere
    noise, the pair would be worse.
    """
    if shift is None or not shift.certain:
        return Aligned(low, high, shift, moved=False)
    moved = np.clip(np.rint(_move(high, shift.px)), 0, np.iinfo(np.uint16).max).astype(np.uint16)
    cut = (math.copysign(math.ceil(abs(by)) + EDGE_PX, by) if by else 0 for by in shift.px)
    covered = tuple(_covered(side, by) for side, by in zip(low.shape, cut, strict=True))
    return Aligned(low[covered], moved[covered], shift, moved=True)


def _move(image: Counts, shift: ShiftPx) -> NDArray[np.float64]:
    """Return the image moved by a Fourier shift, which leaves photon noise as strong in its finest detail.

    A spline does not: half-way between pixels it takes four fifths of it, and with it the noise by which
    metrics know photon counts and the frequencies by which they take resolution.
    """
    wide = np.pad(image.astype(float), MIRRORED_PX, mode="symmetric")
    moved = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(wide), shift)).real
    return np.asarray(moved[MIRRORED_PX:-MIRRORED_PX, MIRRORED_PX:-MIRRORED_PX])


def correlation(low: Counts, high: Counts) -> float | None:
    """Return Pearson's correlation of two smoothed images, (H, W) counts; None where one is constant."""
    if not np.ptp(low) or not np.ptp(high):
        return None
    return float(np.corrcoef(_stabilised(low).ravel(), _stabilised(high).ravel())[0, 1])


def _peak(low: NDArray[np.float64], high: NDArray[np.float64], *, upsample: int) -> ShiftPx:
    shift, _, _ = phase_cross_correlation(low, high, upsample_factor=upsample, normalization=None)
    return float(shift[0]), float(shift[1])


def _error(low: NDArray[np.float64], high: NDArray[np.float64], shift: ShiftPx) -> ShiftPx:
    """Return the standard error of a shift, from what it leaves unexplained.

    The peak is where the residual, weighed with the gradient, sums to 0. How far that sum strays is told by
    its parts, block by block: the residual's noise is stronger where the image is bright, and linked between
    neighbours (Conley 1999, doi 10.1016/S0304-4076(98)00084-0).
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
    """Return the sums over blocks, those at the far borders smaller."""
    starts = (np.arange(0, side, BLOCK_PX) for side in image.shape)
    return np.add.reduceat(np.add.reduceat(image, next(starts), axis=0), next(starts), axis=1)


def _covered(side: int, by: float) -> slice:
    """Return where an image of that side is still covered by one that was moved by whole pixels."""
    return slice(max(0, int(by)), side + min(0, int(by)))


def _stabilised(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return the smoothed image with Poisson noise of the same size everywhere (Anscombe 1948)."""
    return np.asarray(np.sqrt(ndimage.gaussian_filter(image.astype(float), SMOOTH_PX) + 3 / 8))


def _windowed(image: NDArray[Any]) -> NDArray[np.float64]:
    stabilised = _stabilised(image)
    height, width = stabilised.shape
    return np.asarray((stabilised - stabilised.mean()) * np.outer(np.hanning(height), np.hanning(width)))
