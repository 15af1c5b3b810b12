"""Tests for differences between two groups: Shapiro-Wilk and Mann-Whitney U, with the paper's marks.

Source: the paper's Methods, "Statistical analysis".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Final, Literal, TypeAlias

import numpy as np
from scipy import stats

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics.images import Floats

Mark: TypeAlias = Literal["n.s.", "*", "**", "***"]
ALPHA: Final = 0.05
MARKS: Final[tuple[tuple[float, Mark], ...]] = ((0.001, "***"), (0.01, "**"), (ALPHA, "*"))
SHAPIRO_WILK_SAMPLES: Final = (
    3,
    5000,
)  # with fewer there is no statistic, with more no accurate p (Royston 1995)


@dataclass(frozen=True)
class Outcome:
    """Statistic and p value of a test, or the reason why they are missing.

    Parameters
    ----------
    statistic, p : float or None
    why_none : str or None
        Why the samples do not suffice; None when there is a result.
    """

    statistic: float | None
    p: float | None
    why_none: str | None = None

    __test__ = False  # because of its name, pytest would take it for a class of tests

    @property
    def significant(self) -> bool | None:
        """Whether p is below 0.05; None without a result. For Shapiro-Wilk, this means not normal."""
        return None if self.p is None else self.p < ALPHA

    @property
    def mark(self) -> Mark | None:
        """The paper's mark of p; None without a result."""
        return None if self.p is None else significance_mark(self.p)


def shapiro_wilk(values: Sequence[float]) -> Outcome:
    """Return Shapiro and Wilk's test of normality (1965, doi 10.1093/biomet/52.3-4.591).

    Parameters
    ----------
    values : sequence of float
        3 to 5000 values, not all equal; otherwise the result says why it is empty.

    Raises
    ------
    CannotEvaluate
        When a value is not finite.
    """
    sample, (least, most) = _sample(values), SHAPIRO_WILK_SAMPLES
    if not least <= sample.size <= most:
        return _none(f"Shapiro-Wilk takes {least} to {most} values, got {sample.size}")
    if np.ptp(sample) == 0:
        return _none("all values are equal: no distribution to test")
    result = stats.shapiro(sample)
    return Outcome(float(result.statistic), float(result.pvalue))


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> Outcome:
    """Return the two-sided U test of Mann and Whitney (1947, doi 10.1214/aoms/1177730491).

    The p value is exact if a group has at most 8 values and none occurs twice. Otherwise it is from the
    normal approximation with corrections for ties and continuity (scipy's `auto`).

    Parameters
    ----------
    first, second : sequences of float
        At least so many that complete separation would be significant (4 and 4, 3 and 5, 2 and 8); otherwise
        the result says that they are too few.

    Raises
    ------
    CannotEvaluate
        When a value is not finite.
    """
    a, b = _sample(first), _sample(second)
    smallest_p = 2 / comb(a.size + b.size, a.size)
    if smallest_p >= ALPHA:
        return _none(f"{a.size} and {b.size} values are too few: p cannot be below {ALPHA}")
    result = stats.mannwhitneyu(a, b, alternative="two-sided")
    return Outcome(float(result.statistic), float(result.pvalue))


def significance_mark(p: float) -> Mark:
    """Return `***` for p below 0.001, `**` below 0.01, `*` below 0.05, and `n.s.` otherwise.

    Raises
    ------
    CannotEvaluate
        When p is not a probability.
    """
    if not 0 <= p <= 1:
        raise CannotEvaluate(f"expected a p value from 0 to 1, got {p}")
    return next((mark for bound, mark in MARKS if p < bound), "n.s.")


def _sample(values: Sequence[float]) -> Floats:
    sample = np.asarray(values, np.float64)
    if not np.isfinite(sample).all():
        raise CannotEvaluate("expected finite values, got nan or infinity: remove missing values first")
    return sample


def _none(why: str) -> Outcome:
    return Outcome(None, None, why)
