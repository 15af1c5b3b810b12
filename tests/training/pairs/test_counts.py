"""Whole counts, or the reason why there are none."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.pairs.counts import whole_counts

ACCEPTED = {
    "unsigned": (np.array([[0, 65535]], np.uint16), 0, [[0, 65535]]),
    "signed": (np.array([[0, 90]], np.int16), 0, [[0, 90]]),
    "whole numbers as floats": (np.array([[0, 211]], np.float32), 0, [[0, 211]]),
    "with an offset": (np.array([[32768, 32800]], np.uint16), 32768, [[0, 32]]),
    "one pixel in 200 below the offset": (np.append(np.full(199, 105), 90)[None], 100, [[5] * 199 + [0]]),
}


@pytest.mark.parametrize(("values", "subtract", "counts"), ACCEPTED.values(), ids=ACCEPTED)
def test_whole_numbers_are_counts(
    values: NDArray[np.generic], subtract: int, counts: list[list[int]]
) -> None:
    stored = whole_counts(values, subtract=subtract, name="x")
    assert stored.dtype == np.uint16
    assert stored.tolist() == counts


REFUSED = {
    "averages": (np.array([[1.0, 2.5]]), 0, "expected whole counts, got 2.5"),
    "negative": (np.array([[-1] + [5] * 999]), 0, "got -1 and 0.10% of the pixels below 0"),
    "too large": (np.array([[70000]]), 0, "expected counts up to 65535, got 70000"),
    "an offset too large": (np.full((10, 10), 99), 100, "got -1 and 100.00% .* are below, here 99"),
}


@pytest.mark.parametrize(("values", "subtract", "reason"), REFUSED.values(), ids=REFUSED)
def test_other_numbers_are_refused_by_name(values: NDArray[np.generic], subtract: int, reason: str) -> None:
    with pytest.raises(InvalidPairs, match=f"field 3: .*{reason}"):
        whole_counts(values, subtract=subtract, name="field 3")
