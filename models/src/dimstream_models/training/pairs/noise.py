"""Whether images are photon counts: variance against mean, measured on the data themselves.

Photon counts are Poisson: their variance equals their mean. A camera's gain and offset, averaging,
interpolation and scaling for display all change that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.quality.count_check import ACCEPTED
from dimstream_models.quality.photon_transfer import (
    CERTAIN,
    NORM,
    SECOND_DIFFERENCE,
    along_both_axes,
)
from dimstream_models.training.errors import NotPhotonCounts

Stack = NDArray[Any]  # (T, H, W): frames of one field of view; a single image is a stack of one

ACCEPTED_CLASS: Final = (0.6, 1.6)  # and in each brightness class
"""Measured on avalanche photodiodes: 0.86 where dead time sets in; see `ACCEPTED` of all pixels."""
LARGEST_ERROR: Final = 0.1  # standard error of variance / mean at which a class is ignored
FEWEST_PIXELS: Final = 1000  # fewest pixels of a class; with fewer, the standard error itself is uncertain
SMOOTH_PX: Final = 4.0  # Gaussian by which pixels are sorted into bright and dark
OVERLAP: Final = 35 / 18  # factor by which overlapping differences underestimate a standard error
EDGES: Final = 2.0 ** np.arange(-9, 18)  # bounds of the classes, counts


@dataclass(frozen=True)
class NoiseClass:
    """Pixels of similar brightness."""

    mean: float  # counts
    ratio: float  # variance / mean; 1 for photon counts
    error: float  # standard error of the ratio


@dataclass(frozen=True)
class PhotonStatistics:
    """Variance over mean, of all pixels and by brightness."""

    ratio: float
    error: float
    classes: tuple[NoiseClass, ...]  # from dark to bright, without classes that are ignored
    smallest: float  # smallest and largest value of a pixel
    largest: float

    @property
    def poisson(self) -> bool:
        """Whether the values may be photon counts: the variance equals the mean, overall and in each
        class."""
        whole = NoiseClass(np.nan, self.ratio, self.error)
        return not (_missed(whole, ACCEPTED) or any(_missed(each, ACCEPTED_CLASS) for each in self.classes))

    def __str__(self) -> str:
        ratios = [each.ratio for each in self.classes] or [self.ratio]
        return (
            f"variance/mean {self.ratio:.3g} +- {self.error:.2g}, {min(ratios):.3g} to {max(ratios):.3g} in"
            f" classes of brightness; values from {self.smallest:g} to {self.largest:g}"
        )


def check_photon_counts(stacks: Iterable[Stack]) -> PhotonStatistics:
    """Return the statistics of images, after checking that they are photon counts.

    Parameters
    ----------
    stacks : iterable of (T, H, W) arrays
        Frames of one field of view in order, or single images with T = 1.

    Raises
    ------
    NotPhotonCounts
        When a value is negative or a fraction, the variance does not equal the mean, or there are too few
        counts to decide. The message states what was measured.
    """
    measured = measure_noise(_whole(stack) for stack in stacks)
    if not measured.poisson:
        raise NotPhotonCounts(
            f"expected photon counts, whose variance equals their mean; got {measured}. Photons can be "
            "split only in the raw counts of a counting detector: give those, not camera images, averages "
            "or images scaled for display, and subtract any constant offset (`dimstream-train prepare "
            "--subtract-low`)"
        )
    if not measured.error < LARGEST_ERROR:
        raise NotPhotonCounts(
            f"expected enough counts to decide whether they are photons, got {measured}: give more images, "
            "or mask what is far brighter than the sample"
        )
    return measured


def measure_noise(stacks: Iterable[Stack]) -> PhotonStatistics:
    """Return the variance over mean of stacks (T, H, W), whether or not they are photon counts."""
    meter = NoiseMeter()
    for stack in stacks:
        meter.add(stack)
    return meter.statistics()


class NoiseMeter:
    """Measures variance over mean, image by image, from the finest detail or from differences of frames.

    Second differences along both axes keep the noise of single pixels. With two frames, their difference is
    taken first, which removes everything that does not move.
    """

    def __init__(self) -> None:
        self._sums = np.zeros((6, len(EDGES) + 1))
        self._smallest, self._largest = np.inf, -np.inf

    def add(self, stack: Stack) -> None:
        """Measure frames of one field of view, (T, H, W) counts, or a single image with T = 1."""
        self._smallest = min(self._smallest, float(stack.min()))
        self._largest = max(self._largest, float(stack.max()))
        for difference, total in _exposures(stack):
            self._sums += _sums(difference, total)

    def statistics(self) -> PhotonStatistics:
        """Return the statistics of all images so far."""
        whole = _noise_class(self._sums.sum(axis=1))
        classes = (_noise_class(column) for column in self._sums.T if column[0] >= FEWEST_PIXELS)
        stated = tuple(each for each in classes if each.error < LARGEST_ERROR)
        return PhotonStatistics(whole.ratio, whole.error, stated, self._smallest, self._largest)


def _exposures(stack: Stack) -> Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the differences and sums of neighbouring frames; for a single image, the image itself."""
    frames = stack.astype(float)
    if len(frames) == 1:
        yield frames[0], frames[0]
    for first, second in zip(frames[::2], frames[1::2], strict=False):
        yield first - second, first + second


def _sums(difference: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (6, classes): number, variance, mean, and the sums of their products, by brightness."""
    variance = along_both_axes(difference, SECOND_DIFFERENCE) ** 2 / NORM
    mean = along_both_axes(total, [weight**2 for weight in SECOND_DIFFERENCE]) / NORM
    bright = ndimage.gaussian_filter(total, SMOOTH_PX)[1:-1, 1:-1]
    which = np.searchsorted(EDGES, bright.ravel())
    products = (np.ones_like(mean), variance, mean, variance**2, variance * mean, mean**2)
    return np.stack([np.bincount(which, each.ravel(), minlength=len(EDGES) + 1) for each in products])


def _noise_class(sums: NDArray[np.float64]) -> NoiseClass:
    number, variance, mean, variance2, product, mean2 = map(float, sums)
    if mean <= 0:
        return NoiseClass(0.0, np.nan, np.inf)
    ratio = variance / mean
    residual = max(variance2 - 2 * ratio * product + ratio**2 * mean2, 0.0)
    return NoiseClass(mean / number, ratio, OVERLAP * np.sqrt(residual) / mean)


def _missed(noise: NoiseClass, bounds: tuple[float, float]) -> bool:
    margin = CERTAIN * noise.error
    return noise.ratio + margin < bounds[0] or noise.ratio - margin > bounds[1]


def _whole(stack: Stack) -> Stack:
    if stack.dtype.kind == "f" and not (fine := stack == np.rint(stack)).all():
        raise NotPhotonCounts(
            f"expected whole numbers of photons, got {stack[~fine][0]:g}: averages and rescaled images are "
            "not counts; give the raw images"
        )
    if stack.min() < 0:
        raise NotPhotonCounts(
            f"expected photon counts from 0 on, got {stack.min():g}: add what was subtracted"
        )
    return stack
