"""Whole counts from the values of a file, or the reason why the file does not contain counts.

Clean images may be averages: fractions of counts, stored as whole numbers on one finer scale. A truth may be
the mean of many exposures: it has the brightness of one exposure, with less noise. Its fractions are kept by
one factor for all pairs, because the network learns the relation of truth to noisy image.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.images import ImageFile, read_planes
from dimstream_models.training.pairs.prepared import Counts

LARGEST: Final = np.iinfo(np.uint16).max
FINEST: Final = 10_000.0  # steps per count; finer steps are below any noise
NORMALISED: Final = 1.0  # maximum of images that were divided by their own maximum


def factor_of_averages(files: Iterable[ImageFile], *, subtract: int) -> float:
    """Return the power of ten by which averages are multiplied: the largest for which 16 bits suffice.

    It is 1 for whole counts. All files are read if the first one holds floating-point numbers, otherwise none
    of the others.

    Raises
    ------
    InvalidPairs
        When the maximum of every image is exactly 1, because each was divided by its own maximum.
    """
    whole, largest, maxima, where = True, 0.0, set[float](), ""
    for file in files:
        values = read_planes(file, below_zero=True).values
        if values.dtype.kind != "f":
            if not where:
                return 1.0
        elif not (values == np.rint(values)).all():
            whole = False
        where = where or str(file)
        maxima |= {float(plane.max()) for plane in values}
        largest = max(largest, float(values.max()) - subtract)
    if whole or largest <= 0:
        return 1.0
    if maxima == {NORMALISED}:
        raise InvalidPairs(
            "expected counts or averages of counts at high dose, got images whose maximum is exactly 1, "
            f"{where} the first: each was divided by its own maximum, so the brightness of the truth cannot "
            "be learned; give the averages without normalisation"
        )
    exponent = int(np.floor(np.log10(LARGEST / largest)))
    return float(min(FINEST, 10.0 ** max(exponent, 0)))


BELOW_OFFSET: Final = 0.01  # share of pixels that may be below the subtracted value; they become 0


def whole_counts(values: NDArray[Any], *, subtract: int, name: str) -> Counts:
    """Return values (H, W) minus the camera's offset, as uint16 counts from 0 to 65535.

    Parameters
    ----------
    values : (H, W) array
        Real, finite numbers.
    subtract : int
        The camera's offset, counts per pixel.
    name : str
        Name of the image, for messages.

    Raises
    ------
    InvalidPairs
        When a value is a fraction or above 65535, or too many are below 0.
    """
    if is_fractional(values):
        raise InvalidPairs(
            f"{name}: expected whole counts, got {_fraction(values):g}: averages and normalised images are "
            "not counts; give the sum or the raw images"
        )
    return _in_16_bits(values.astype(np.int64) - subtract, values, subtract=subtract, name=name)


def stored_truth(values: NDArray[Any], *, subtract: int, factor: float, name: str) -> Counts:
    """Return a clean image (H, W) minus the camera's offset, times `factor`, as uint16 from 0 to 65535.

    Parameters
    ----------
    values : (H, W) array
        Real, finite numbers: counts, or averages of counts.
    subtract : int
        The camera's offset, counts per pixel.
    factor : float
        1 for counts; for averages the factor that keeps their fractions.
    name : str
        Name of the image, for messages.

    Raises
    ------
    InvalidPairs
        When a value is a fraction although the factor is 1, a value is above 65535, or too many are below 0.
    """
    if factor == 1 and is_fractional(values):
        raise InvalidPairs(
            f"{name}: expected whole counts like the other images of high dose, got {_fraction(values):g}:"
            " averages have fractions; give --multiply-high 100, which keeps two decimals of all images, or "
            "prepare these separately"
        )
    scaled = np.rint((values.astype(np.float64) - subtract) * factor).astype(np.int64)
    return _in_16_bits(scaled, values, subtract=subtract, name=name)


def is_fractional(values: NDArray[Any]) -> bool:
    """Return whether (..., H, W) counts are floating-point numbers that are not all whole."""
    return values.dtype.kind == "f" and not bool((values == np.rint(values)).all())


def _in_16_bits(counts: NDArray[np.int64], values: NDArray[Any], *, subtract: int, name: str) -> Counts:
    if (largest := counts.max()) > LARGEST:
        raise InvalidPairs(
            f"{name}: expected counts up to {LARGEST}, got {largest}: subtract an offset, or bin"
        )
    below = float((counts < 0).mean())
    if below > (BELOW_OFFSET if subtract else 0):
        raise InvalidPairs(
            f"{name}: expected counts from 0 on, got {counts.min()} and {below:.2%} of the pixels below 0 "
            f"after {subtract} was subtracted: subtract a value that at most {BELOW_OFFSET:.0%} of the "
            f"pixels are below, here {int(np.floor(np.quantile(values, BELOW_OFFSET)))}"
        )
    return np.maximum(counts, 0).astype(np.uint16)


def _fraction(values: NDArray[Any]) -> float:
    return float(values[values != np.rint(values)][0])
