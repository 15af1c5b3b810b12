"""Clean images that are averages: fractions of counts, stored as whole numbers on one finer scale.

A truth may be the mean of many exposures: it holds the light of one of them, with less noise. Its fractions
are kept by one factor for all pairs, as the relation of truth to noisy image is what is learned.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.images import ImageFile, read_planes

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
