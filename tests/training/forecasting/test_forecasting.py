"""Movies that bleach as their law says, and figures that say how right forecasts of known ends were."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from shipped import BUNDLE

from dimstream_models.bundle import read_bundle
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.forecasting.bleaching import LAWS, bleaching_movie
from dimstream_models.training.forecasting.forecast_errors import MOVIES, ForeseenMovie, foresee
from dimstream_models.training.forecasting.report import figures_of, write_report

Left = tuple[float, float, float]


def movie(
    number: int = 0, law: str = "single", *, left: list[Left | None], ended: int | None
) -> ForeseenMovie:
    return ForeseenMovie(
        number=number, law=law, physics="other", side_px=64, dose=3.0, background=0.1, left=left, ended=ended,
        scores=[40.0] * len(left), reason=None if ended is None else "no structure: score 3 below 5",
    )  # fmt: skip


def exact(end: int, factor: float = 1.0) -> list[Left | None]:
    return [(factor * (end - n), factor * (end - n) / 2, factor * (end - n) * 2) for n in range(end)]


def test_the_laws_take_turns_and_the_worlds_too() -> None:
    movies = [bleaching_movie(number, seed=3) for number in range(12)]
    assert [one.law for one in movies] == [*LAWS, *LAWS]
    assert [one.physics for one in movies] == ["simulator"] * 6 + ["other"] * 6


@pytest.mark.parametrize("number", range(6))
def test_light_falls_as_the_law_says(number: int) -> None:
    one = bleaching_movie(number, seed=3)
    rates = -np.diff(np.log(one.light))
    assert one.light[0] == pytest.approx(1)
    if one.law == "steady":
        assert not rates.any()
    elif one.law == "recovery":
        assert rates.min() < 0  # it shines brighter after the pause
    else:
        assert rates.min() > 0
        falls = one.law in ("double", "stretched")
        assert (rates[0] > 1.2 * rates[-1]) == falls


def test_a_movie_is_the_same_for_the_same_seed_and_number_only() -> None:
    first, again, other = (next(bleaching_movie(9, seed=seed).frames()) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()
    assert first.dtype == np.uint16
    assert first.shape == (bleaching_movie(9, seed=3).side_px,) * 2


def test_forecasts_that_are_right_have_no_error() -> None:
    figures = figures_of([movie(left=exact(20), ended=20)])
    assert figures is not None
    assert (figures.error, figures.bias, figures.within, figures.covered) == (0, 1, 1, 1)
    assert (figures.movies, figures.with_forecast, figures.forecasts) == (1, 1, 20)


@pytest.mark.parametrize(
    ("factor", "error", "before", "after"), [(1.5, 0.5, 0, 0), (3, 2, 1, 0), (0.4, 0.6, 0, 1)]
)
def test_errors_and_outcomes_outside_are_counted(
    factor: float, error: float, before: float, after: float
) -> None:
    figures = figures_of([movie(left=exact(20, factor), ended=20)])
    assert figures is not None
    assert figures.error == pytest.approx(error)
    assert (figures.before, figures.after) == (before, after)
    assert figures.bias == pytest.approx(factor)


def test_a_long_movie_counts_no_more_than_a_short_one() -> None:
    figures = figures_of(
        [
            movie(0, left=exact(400, 3), ended=400),
            movie(1, left=exact(10), ended=10),
            movie(2, left=exact(10), ended=10),
        ]
    )
    assert figures is not None
    assert figures.before == pytest.approx(1 / 3)
    assert figures.error == 0


def test_what_was_said_after_the_end_and_of_movies_without_one_does_not_count() -> None:
    late: list[Left | None] = [None, None, (9.0, 5.0, 20.0)]
    assert figures_of([movie(left=late, ended=2), movie(left=exact(5), ended=None)]) is None


@pytest.mark.slow
def test_the_report_has_a_row_for_each_law_and_counts_false_forecasts(tmp_path: Path) -> None:
    movies = [movie(n, law, left=exact(12), ended=12) for n, law in enumerate(LAWS[:-1])]
    movies += [
        movie(5, "steady", left=[None] * 9, ended=None),
        movie(11, "steady", left=exact(9), ended=None),
    ]
    text = write_report(movies, tmp_path)
    assert "movies without bleaching but with a forecast, which is wrong: 1 of 2" in text
    assert "movies that ended by lack of structure: 5 of 5" in text
    figures = json.loads((tmp_path / "forecast.json").read_text())
    assert list(figures) == ["all", *LAWS[:-1], "the other world"]
    assert imread(io.BytesIO((tmp_path / "forecast.png").read_bytes())).std() > 0.05


@pytest.mark.slow
def test_a_run_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    bundle = read_bundle(BUNDLE)
    done = {number: movie(number, LAWS[number], left=exact(3), ended=3) for number in range(5)}
    lines = [json.dumps({"bundle": bundle.sha256, "seed": 30})]
    lines += [json.dumps(vars(one)) for one in done.values()]
    (tmp_path / MOVIES).write_text("\n".join(lines) + "\n")
    found = foresee(bundle, tmp_path, movies=1, seed=30)
    assert found[:5] == list(done.values())
    assert (found[5].law, found[5].ended) == ("steady", None)
    assert foresee(bundle, tmp_path, movies=1, seed=30) == found  # nothing is done again
    with pytest.raises(CannotEvaluate, match="of this bundle and seed"):
        foresee(bundle, tmp_path, movies=1, seed=31)
