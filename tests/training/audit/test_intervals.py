"""Intervals against what others compute, and against movies that are drawn again in earnest."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from dimstream_models.training.audit.intervals import (
    Scored,
    Tally,
    area,
    clopper_pearson,
    newcombe,
    redrawn,
    share,
)


def _movies(rng: np.random.Generator, number: int, mean: float, physics: str = "simulator") -> list[Scored]:
    """Movies of 3 to 8 frames that resemble each other; rounded, so that there are ties."""
    return [
        Scored(physics, np.round(mean + rng.normal() + 0.3 * rng.normal(size=rng.integers(3, 9)), 1))
        for _ in range(number)
    ]


def _sklearn(positive: list[Scored], negative: list[Scored]) -> float:
    values = [each.scores for each in (*positive, *negative)]
    labels = [np.full(len(each.scores), each in positive) for each in (*positive, *negative)]
    return float(roc_auc_score(np.concatenate(labels), np.concatenate(values)))


def test_the_area_is_sklearns() -> None:
    rng = np.random.default_rng(1)
    positive = _movies(rng, 9, 1.0) + _movies(rng, 7, 2.0, "other")
    negative = _movies(rng, 8, 0.0) + _movies(rng, 5, 0.0, "other")
    found = area(positive, negative, seed=0)
    assert found.value == pytest.approx(_sklearn(positive, negative), abs=1e-12)
    for world in ("simulator", "other"):
        own = ([each for each in kind if each.physics == world] for kind in (positive, negative))
        assert found.by_physics[world] == pytest.approx(_sklearn(*own), abs=1e-12)
    assert found.physics_spread == pytest.approx(
        abs((found.by_physics["simulator"] or 0) - (found.by_physics["other"] or 0))
    )
    assert found.movies == 29


@pytest.mark.slow
def test_the_areas_interval_is_that_of_movies_drawn_anew() -> None:
    rng = np.random.default_rng(2)
    positive, negative = _movies(rng, 12, 1.0), _movies(rng, 12, 0.0)
    again = []
    for _ in range(400):
        drawn = [[kind[i] for i in rng.integers(12, size=12)] for kind in (positive, negative)]
        labels = [np.full(len(each.scores), kind) for kind in (0, 1) for each in drawn[kind]]
        values = [each.scores for kind in (0, 1) for each in drawn[kind]]
        again.append(roc_auc_score(1 - np.concatenate(labels), np.concatenate(values)))
    found = area(positive, negative, seed=0)
    assert found.low == pytest.approx(np.quantile(again, 0.025), abs=0.03)
    assert found.high == pytest.approx(np.quantile(again, 0.975), abs=0.03)


def test_perfect_separation_of_few_movies_is_not_certain() -> None:
    positive = [Scored("simulator", np.array([2.0, 3.0]))] * 10
    negative = [Scored("simulator", np.array([0.0, 1.0]))] * 10
    found = area(positive, negative, seed=0)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert found.lowest is not None
    assert 0.8 < found.lowest < 0.9
    assert found.highest == 1


def test_newcombes_bounds_lie_where_the_score_equation_holds() -> None:
    positive, negative, value = 40, 25, 0.93
    middle = (positive + negative) / 2 - 1
    grid = np.linspace(0.5, 1, 500_001)[:-1]
    inside = 1 + middle * (1 - grid) / (2 - grid) + middle * grid / (1 + grid)
    kept = np.abs(value - grid) <= 1.959964 * np.sqrt(grid * (1 - grid) * inside / (positive * negative))
    assert newcombe(value, positive, negative) == pytest.approx((grid[kept][0], grid[kept][-1]), abs=1e-5)
    assert newcombe(1 - value, positive, negative) == pytest.approx(
        tuple(1 - end for end in newcombe(value, positive, negative)[::-1]), abs=1e-6
    )


@pytest.mark.parametrize(("part", "whole"), [(0, 12), (3, 40), (12, 12), (499, 500)])
def test_clopper_pearson_is_scipys(part: int, whole: int) -> None:
    exact = stats.binomtest(part, whole).proportion_ci(0.95, method="exact")
    assert clopper_pearson(part, whole) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_a_share_is_of_all_frames_and_its_interval_of_movies() -> None:
    tallies = [Tally("simulator", 0, 20)] * 9 + [Tally("other", 20, 20)]
    found = share(tallies, seed=0)
    assert found.value == pytest.approx(0.1)
    assert found.by_physics == {"other": 1.0, "simulator": 0.0}
    assert found.low == 0  # as all suspect frames are of one movie, it may not have been drawn
    assert found.high is not None
    assert found.high >= 0.3  # frames taken for independent would say 0.15
    assert clopper_pearson(20, 200)[1] < 0.16


def test_nothing_happening_in_ten_movies_says_little() -> None:
    found = share([Tally("simulator", 0, 100)] * 10, seed=0)
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert found.highest == pytest.approx(1 - 0.025 ** (1 / 10))


def test_nothing_to_measure_is_no_figure() -> None:
    assert share([Tally("simulator", 0, 0)], seed=0).value is None
    assert area([], [Scored("simulator", np.ones(3))], seed=0).value is None


def test_the_same_seed_draws_the_same_movies() -> None:
    assert np.array_equal(redrawn(7, seed=3), redrawn(7, seed=3))
    assert not np.array_equal(redrawn(7, seed=3), redrawn(7, seed=4))
    assert (redrawn(7, seed=3).sum(axis=1) == 7).all()
