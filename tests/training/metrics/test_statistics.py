"""Tests of significance against published examples and by counting all orders."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics.statistics import mann_whitney, shapiro_wilk, significance_mark

MARKS = {
    0.0: "***",
    0.000999: "***",
    0.001: "**",
    0.00999: "**",
    0.01: "*",
    0.04999: "*",
    0.05: "n.s.",
    1.0: "n.s.",
}


@pytest.mark.parametrize("p", MARKS)
def test_marks_change_below_their_bounds(p: float) -> None:
    assert significance_mark(p) == MARKS[p]


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_a_mark_wants_a_probability(p: float) -> None:
    with pytest.raises(CannotEvaluate, match="from 0 to 1"):
        significance_mark(p)


def test_shapiro_and_wilks_own_example() -> None:
    weights_of_men = [148, 154, 158, 160, 161, 162, 166, 170, 182, 195, 236]  # 1965, example 1: W = 0.79
    found = shapiro_wilk(weights_of_men)
    assert found.statistic == pytest.approx(0.79, abs=0.005)
    assert found.significant
    assert found.why_none is None


def test_normality_is_what_r_finds() -> None:
    sample = (
        "0.11 7.87 4.61 10.14 7.95 3.14 0.46 4.43 0.21 4.75 0.71 1.52 3.24 0.93 0.42 4.97 9.53 4.55 0.47 6.66"
    )
    found = shapiro_wilk([float(value) for value in sample.split()])  # R's shapiro.test, to five digits
    assert found.statistic == pytest.approx(0.90047, abs=5e-6)
    assert found.p == pytest.approx(0.04209, abs=5e-6)


def test_normal_values_are_not_found_otherwise() -> None:
    found = shapiro_wilk(np.random.default_rng(0).normal(size=40).tolist())
    assert found.significant is False
    assert found.mark == "n.s."


def test_hollander_and_wolfes_example() -> None:
    found = mann_whitney([19, 22, 16, 29, 24], [20, 11, 17, 12])
    assert found.statistic == 17
    assert found.p == pytest.approx(1 / 9, abs=1e-12)
    assert found.mark == "n.s."


@pytest.mark.parametrize("seed", range(4))
def test_p_is_the_share_of_orders_that_differ_as_much(seed: int) -> None:
    values = np.random.default_rng(seed).permutation(9.0 + np.arange(9))
    first, second = values[:4], values[4:]

    def u(chosen: Sequence[float]) -> float:
        rest = set(values) - set(chosen)
        return float(sum(a > b for a in chosen for b in rest))

    middle = 4 * 5 / 2
    every = [abs(u(chosen) - middle) for chosen in combinations(values.tolist(), 4)]
    expected = np.mean(np.asarray(every) >= abs(u(first.tolist()) - middle))
    assert mann_whitney(first.tolist(), second.tolist()).p == pytest.approx(expected, abs=1e-12)


def test_groups_of_the_papers_size_that_never_overlap_differ_highly() -> None:
    found = mann_whitney(list(range(15)), list(range(20, 35)))
    assert found.mark == "***"


def test_equal_groups_do_not_differ() -> None:
    found = mann_whitney([0.5] * 15, [0.5] * 15)
    assert found.p == 1
    assert found.mark == "n.s."


@pytest.mark.parametrize("sizes", [(0, 15), (1, 1), (3, 4), (2, 7)])
def test_too_few_to_differ_gives_the_reason(sizes: tuple[int, int]) -> None:
    found = mann_whitney(list(range(sizes[0])), list(range(100, 100 + sizes[1])))
    assert (found.statistic, found.p, found.mark, found.significant) == (None, None, None, None)
    assert "too few" in str(found.why_none)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 5), (2, 8)])
def test_enough_to_differ_can(sizes: tuple[int, int]) -> None:
    assert mann_whitney(list(range(sizes[0])), list(range(100, 100 + sizes[1]))).mark == "*"


NO_NORMALITY = {"3 to 5000": [1.0, 2.0], "3 to 5000 values, got 5001": [0.0] * 5001, "equal": [2.0] * 15}


@pytest.mark.parametrize("reason", NO_NORMALITY)
def test_no_normality_gives_the_reason(reason: str) -> None:
    found = shapiro_wilk(NO_NORMALITY[reason])
    assert found.p is None
    assert reason in str(found.why_none)


def test_refuses_values_that_are_no_numbers() -> None:
    with pytest.raises(CannotEvaluate, match="finite"):
        mann_whitney([1.0] * 5, [float("nan")] * 5)
