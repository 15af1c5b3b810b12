"""Whole counts from what a file holds, or the reason why there are none."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.prepared import Counts

LARGEST: Final = np.iinfo(np.uint16).max
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
    if values.dtype.kind == "f" and not (whole := values == np.rint(values)).all():
        raise InvalidPairs(
            f"{name}: expected whole counts, got {values[~whole][0]:g}: averages and normalised images are no"
            " counts; give the sum or the raw images"
        )
    counts = values.astype(np.int64) - subtract
    if (largest := counts.max()) > LARGEST:
        raise InvalidPairs(
            f"{name}: expected counts up to {LARGEST}, got {largest}: subtract an offset, or bin"
        )
    below = float((counts < 0).mean())
    if below > (BELOW_OFFSET if subtract else 0):
        raise InvalidPairs(
            f"{name}: expected counts from 0 on, got {counts.min()} and {below:.2%} of the pixels below 0"
            f" after {subtract} were subtracted: subtract what at most {BELOW_OFFSET:.0%} of the pixels lie"
            f" below, here {int(np.quantile(values, BELOW_OFFSET))}"
        )
    return np.maximum(counts, 0).astype(np.uint16)
