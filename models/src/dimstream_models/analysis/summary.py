"""The summary of a movie: means with their uncertainty, rates, lifetimes, and the frames that were left
out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dimstream_models.analysis.collating import EVENTS, FRAMES, THINGS
from dimstream_models.analysis.movies import Movie
from dimstream_models.analysis.tables import read_columns
from dimstream_models.analysis.tracks import UNSEEN
from dimstream_models.analysis.uncertainty import Mean, mean_of
from dimstream_models.er_figures import FIGURES
from dimstream_models.whole_files import write_whole

SUMMARY: Final = "summary.json"
Columns = Mapping[str, list[Any]]


@dataclass(frozen=True)
class Lifetimes:
    """Lifetimes of the junctions or gaps that began during the movie.

    Parameters
    ----------
    tracks, ended : int
        Number that began during the movie, and of these, number whose end was observed too.
    median_frames, median_s : float or None
        Kaplan and Meier's median (1958, doi 10.1080/01621459.1958.10501452); None if more than half were
        still there when last observed.
    """

    tracks: int
    ended: int
    median_frames: float | None
    median_s: float | None


@dataclass(frozen=True)
class Summary:
    """What a movie says as a whole.

    Parameters
    ----------
    analysed : int
        Frames.
    left_out : dict of str to int
        Numbers of frames that were left out, by flag.
    pairs : int
        Number of frames that were compared with the one before.
    observed_min : float or None
        Minutes between the frames of these pairs.
    area : float
        Area of the frame, µm² or px.
    means : dict of str to Mean
        By column.
    rates : dict of str to Mean
        Events per area and minute; per area and frame where times are unknown.
    lifetimes : dict of str to Lifetimes
    """

    analysed: int
    left_out: dict[str, int]
    pairs: int
    observed_min: float | None
    area: float
    means: dict[str, Mean]
    rates: dict[str, Mean]
    lifetimes: dict[str, Lifetimes]


def summarise(movie: Movie, folder: Path) -> Summary:
    """Return the summary of a movie from the tables in a folder."""
    frames = read_columns(folder / f"{FRAMES}.parquet")
    scaled = movie.pixel_um is not None
    area = movie.shape[0] * movie.shape[1] * (movie.pixel_um or 1.0) ** 2
    intervals = [each for each in frames["interval_s"] if each is not None]
    left_out = Counter(
        flag for flag, analysed in zip(frames["flag"], frames["analysed"], strict=True) if not analysed
    )
    step_s = float(np.median(intervals)) if intervals else None
    return Summary(
        analysed=sum(frames["analysed"]),
        left_out=dict(left_out),
        pairs=sum(each is not None for each in frames["junctions_born"]),
        observed_min=sum(intervals) / 60 if intervals else None,
        area=area,
        means={
            column: mean_of(frames[column])
            for column in (figure.column(scaled=scaled) for figure in FIGURES.values())
        },
        rates=_rates(frames, area, step_s, scaled=scaled),
        lifetimes={name: _lifetimes(read_columns(folder / f"{name}.parquet"), step_s) for name in THINGS},
    )


def write_summary(summary: Summary, folder: Path, about: Mapping[str, Any]) -> None:
    """Write `summary.json`: what was analysed and how, and the whole summary."""
    write_whole(folder / SUMMARY, (json.dumps({**about, **asdict(summary)}, indent=1) + "\n").encode())


def _rates(frames: Columns, area: float, step_s: float | None, *, scaled: bool) -> dict[str, Mean]:
    """Return events per area and time; a frame's events belong to the interval before it."""
    unit = f"per_{'um2' if scaled else 'px2'}_{'min' if step_s else 'frame'}"
    rates = {}
    for name in THINGS:
        for event in EVENTS:
            per_frame = [
                None if count is None else count / (area * ((interval or step_s) / 60 if step_s else 1))
                for count, interval in zip(frames[f"{name}_{event}"], frames["interval_s"], strict=True)
            ]
            rates[f"{name}_{event}_{unit}"] = mean_of(per_frame)
    return rates


def _lifetimes(tracks: Columns, step_s: float | None) -> Lifetimes:
    began = [beginning != UNSEEN for beginning in tracks["beginning"]]
    first, last = (np.array(tracks[name])[began] for name in ("first_frame", "last_frame"))
    ended = np.array([ending != UNSEEN for ending in tracks["ending"]], bool)[began]
    frames = last - first + 1
    median = _median(frames, ended) if len(frames) else None
    seconds = None if median is None or step_s is None else median * step_s
    return Lifetimes(len(frames), int(ended.sum()), median, seconds)


def _median(frames: NDArray[np.int64], ended: NDArray[np.bool_]) -> float | None:
    """Return the first lifetime that at most half of the tracks exceed."""
    known = stats.CensoredData(uncensored=frames[ended], right=frames[~ended])
    surviving = stats.ecdf(known).sf
    below = np.flatnonzero(surviving.probabilities <= 0.5)
    return float(surviving.quantiles[below[0]]) if len(below) else None
