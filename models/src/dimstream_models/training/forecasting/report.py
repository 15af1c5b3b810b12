"""The accuracy of the forecasts: a table, figures for programs, and a picture."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimstream_models.training.forecasting.bleaching import LAWS
from dimstream_models.training.forecasting.forecast_errors import ForeseenMovie

Floats = NDArray[np.float64]
INTERVAL: Final = "10-90 %"


@dataclass(frozen=True, kw_only=True)
class ForecastFigures:
    """Accuracy of forecasts; each movie has the same weight, whatever its number of frames.

    Parameters
    ----------
    movies, with_forecast : int
        Movies that ended, and those of them with a forecast before.
    forecasts : int
        Frames with a forecast.
    error : float
        Median of |forecast frames - actual frames| / actual frames.
    error_frames : float
        Median of |forecast frames - actual frames|.
    bias : float
        Median of forecast frames / actual frames.
    before, within, after : float
        Shares of the outcomes before, within and after the interval.
    covered : float
        Share of a movie's frames before its end with a forecast.
    """

    movies: int
    with_forecast: int
    forecasts: int
    error: float
    error_frames: float
    bias: float
    before: float
    within: float
    after: float
    covered: float


def figures_of(movies: Sequence[ForeseenMovie]) -> ForecastFigures | None:
    """Return the accuracy of the forecasts of movies; None if none of them ended after a forecast."""
    ended = [movie for movie in movies if movie.ended is not None]
    table = _table(ended)
    if not len(table):
        return None
    weight, came, foreseen, earliest, latest = table.T
    error = np.abs(foreseen - came)
    before, after = came < earliest, came > latest
    return ForecastFigures(
        movies=len(ended),
        with_forecast=sum(1 for movie in ended if any(movie.forecasts())),
        forecasts=len(table),
        error=_median(error / came, weight),
        error_frames=_median(error, weight),
        bias=_median(foreseen / came, weight),
        before=float(np.average(before, weights=weight)),
        within=float(np.average(~before & ~after, weights=weight)),
        after=float(np.average(after, weights=weight)),
        covered=float(np.mean([len(list(movie.forecasts())) / max(movie.ended or 1, 1) for movie in ended])),
    )


def write_report(movies: Sequence[ForeseenMovie], out: Path) -> str:
    """Write `forecast.txt`, `forecast.json` and `forecast.png`, and return the table."""
    groups = {name: figures for name, choose in _groups().items() if (figures := figures_of(choose(movies)))}
    text = _text(groups, movies)
    (out / "forecast.txt").write_text(text + "\n", encoding="utf-8")
    as_json = {name: asdict(one) for name, one in groups.items()}
    (out / "forecast.json").write_text(json.dumps(as_json, indent=1) + "\n", encoding="utf-8")
    (out / "forecast.png").write_bytes(_picture(movies))
    return text


def _groups() -> dict[str, Callable[[Sequence[ForeseenMovie]], list[ForeseenMovie]]]:
    def by(name: str, value: str) -> Callable[[Sequence[ForeseenMovie]], list[ForeseenMovie]]:
        return lambda movies: [movie for movie in movies if getattr(movie, name) == value]

    return {
        "all": list,
        **{law: by("law", law) for law in LAWS},
        "training's world": by("physics", "simulator"),
        "the other world": by("physics", "other"),
    }


def _table(movies: Sequence[ForeseenMovie]) -> Floats:
    """Return a row for each forecast, (N, 5): weight, actual frames, and the three forecast numbers."""
    rows = []
    for movie in movies:
        found = list(movie.forecasts())
        rows += [(1 / len(found), (movie.ended or 0) - frame, *left) for frame, left in found]
    return np.array(rows, dtype=np.float64).reshape(-1, 5)


def _median(values: Floats, weight: Floats) -> float:
    order = np.argsort(values)
    share = np.cumsum(weight[order]) / weight.sum()
    return float(values[order][np.searchsorted(share, 0.5)])


def _text(groups: dict[str, ForecastFigures], movies: Sequence[ForeseenMovie]) -> str:
    names = ("error", "frames", "bias", "before", "within", "after", "covered")
    head = f"{'movies':<18}{'n':>4}" + "".join(
        f"{name:>{width}}" for name, width in zip(names, (8, 8, 7, 8, 8, 7, 9), strict=True)
    )
    rows = [
        f"{name:<18}{one.movies:>4}{one.error:>7.0%} {one.error_frames:>7.1f}{one.bias:>7.2f}"
        f"{one.before:>8.0%}{one.within:>8.0%}{one.after:>7.0%}{one.covered:>9.0%}"
        for name, one in groups.items()
    ]
    steady = [movie for movie in movies if movie.law == "steady"]
    alarms = sum(any(movie.forecasts()) for movie in steady)
    by_structure = [movie for movie in movies if movie.ended and (movie.reason or "").startswith("no struct")]
    ended = [movie for movie in movies if movie.ended is not None]
    return "\n".join(
        [
            head,
            *rows,
            "",
            f"movies without bleaching but with a forecast, which is wrong: {alarms} of {len(steady)}",
            f"movies that ended by lack of structure: {len(by_structure)} of {len(ended)}",
        ]
    )


def _picture(movies: Sequence[ForeseenMovie]) -> bytes:
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    axes = figure.subplots(2, 3)
    for place, law in zip(axes.flat, LAWS, strict=True):
        shown = [movie for movie in movies if movie.law == law and len(movie.left) > 1]
        if shown:
            # the movie with the median length, so that the choice is not arbitrary
            _draw(place, sorted(shown, key=lambda movie: (len(movie.left), movie.number))[len(shown) // 2])
    axes[0, 0].legend(loc="upper right", fontsize=8)
    made = io.BytesIO()
    figure.savefig(made, format="png", dpi=80)
    return made.getvalue()


def _draw(place: Any, movie: ForeseenMovie) -> None:
    """Draw the forecasts of a movie and what happened, with its structure score in the background."""
    frames = [frame for frame, _ in movie.forecasts()]
    left = np.array([left for _, left in movie.forecasts()]).reshape(-1, 3)
    last = len(movie.left) - 1 if movie.ended is None else movie.ended
    place.set_title(f"{movie.law}, {movie.dose:.1f} photons on {movie.background:.2g}", fontsize=10)
    if len(left):
        place.fill_between(frames, left[:, 1], left[:, 2], color="#56b4e9", alpha=0.35, lw=0, label=INTERVAL)
        place.plot(frames, left[:, 0], color="#0072b2", label="foreseen")
    else:
        place.text(0.5, 0.85, "no forecast", transform=place.transAxes, ha="center")
    if movie.ended is not None:
        place.plot([0, last], [last, 0], color="black", ls="--", label="what came")
    place.set(xlim=(0, last), ylim=(0, 2 * last), xlabel="frame", ylabel="frames left")
    score = place.twinx()
    score.plot(movie.scores[: last + 1], color="#e69f00", lw=1)
    score.axhline(5, color="#e69f00", lw=0.6, ls=":")
    score.set(yscale="log", ylim=(1, 1000))
    score.set_ylabel("structure score", color="#b07800")
