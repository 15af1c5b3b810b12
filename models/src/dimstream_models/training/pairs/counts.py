"""Whole counts from what a file holds, or the reason why there are none.

Clean images that are averages: fractions of counts, stored as whole numbers on one finer scale.

A truth may be the mean of many exposures: it holds the light of one of them, with less noise. Its fractions
are kept by one factor for all pairs, as the relation of truth to noisy image is what is learned.
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
FINEST: Final = 10_000.0  # steps to a count; finer ones are below any noise
NORMALISED: Final = 1.0  # what images divided by their own maximum all reach


def factor_of_averages(files: Iterable[ImageFile], *, subtract: int) -> float:
    """Return the power of ten that averages are multiplied by: the largest that 16 bits hold.

    1 for whole counts. Files of floating-point numbers are read for it, all of them; where the first file
    holds integers no other is looked at.

    Raises
    ------
    InvalidPairs
        When every image reaches exactly 1: each was divided by its own maximum.
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
            "expected counts or averages of counts at high dose, got images that all reach exactly 1,"
            f" {where} the first: each was divided by its own maximum, so how bright the truth is cannot be"
            " learned; give the averages as they were taken"
        )
    exponent = int(np.floor(np.log10(LARGEST / largest)))
    return float(min(FINEST, 10.0 ** max(exponent, 0)))


BELOW_OFFSET: Final = 0.01  # share of pixels that may lie below what is subtracted; they become 0


def whole_counts(values: NDArray[Any], *, subtract: int, name: str) -> Counts:
    """Return values less what the camera adds, as counts from 0 to 65535.

    Parameters
    ----------
    values : (H, W) array
        Real, finite numbers.
    subtract : int
        Counts per pixel that are no light.
    name : str
        Of the image, for the reason.

    Raises
    ------
    InvalidPairs
        When a value is no whole number, lies above 65535, or too many lie below 0.
    """
    if is_fractional(values):
        raise InvalidPairs(
            f"{name}: expected whole counts, got {_fraction(values):g}: averages and normalised images are no"
            " counts; give the sum or the raw images"
        )
    return _in_16_bits(values.astype(np.int64) - subtract, values, subtract=subtract, name=name)


def stored_truth(values: NDArray[Any], *, subtract: int, factor: float, name: str) -> Counts:
    """Return a clean image less what the camera adds, times `factor`, in whole numbers from 0 to 65535.

    Parameters
    ----------
    values : (H, W) array
        Real, finite numbers: counts, or averages of counts.
    subtract : int
        Counts per pixel that are no light.
    factor : float
        1 for counts; for averages what keeps their fractions.
    name : str
        Of the image, for the reason.

    Raises
    ------
    InvalidPairs
        When a value is a fraction and the factor 1, lies above 65535, or too many lie below 0.
    """
    if factor == 1 and is_fractional(values):
        raise InvalidPairs(
            f"{name}: expected whole counts like the other images of high dose, got {_fraction(values):g}:"
            " averages lie between counts; give --multiply-high 100, which keeps two decimals of all, or"
            " prepare them apart"
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
            f"{name}: expected counts from 0 on, got {counts.min()} and {below:.2%} of the pixels below 0"
            f" after {subtract} were subtracted: subtract what at most {BELOW_OFFSET:.0%} of the pixels lie"
            f" below, here {int(np.floor(np.quantile(values, BELOW_OFFSET)))}"
        )
    return np.maximum(counts, 0).astype(np.uint16)


def _fraction(values: NDArray[Any]) -> float:
    return float(values[values != np.rint(values)][0])
