"""Median and quartiles: what is told of values measured several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of `n` values."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one value."""
        low, median, high = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
        return cls(median, low, high, len(values))
