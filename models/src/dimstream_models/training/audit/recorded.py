"""The figures of recorded movies, whose truth is only that they show a sample, or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np

from dimstream_models.training.audit.alarms import WAYS, Rate, rate, suspect
from dimstream_models.training.audit.auditing import RecordedMovie, Role
from dimstream_models.training.audit.scores import MEASURED, values

QUANTILES: Final = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
ALL: Final = "all"


@dataclass(frozen=True, kw_only=True)
class RecordedRow:
    """What became of one recorded file, or of all of a role together (`file` is then "all").

    Parameters
    ----------
    wrong : mapping
        By way: false alarms of signal, missed frames of dark.
    scores : mapping
        Score to its `QUANTILES`.
    refused : str or None
        Why photons were not split, when they should have been.
    """

    file: str
    role: str
    frames: int
    wrong: Mapping[str, Rate]
    unjudged: int
    scores: Mapping[str, tuple[float, ...]]
    refused: str | None
    note: str


def measure_recorded(movies: Sequence[RecordedMovie], *, seed: int) -> list[RecordedRow]:
    """Return a row for each file, and for all of a role together where there are several."""
    rows = [_recorded_row(movie.path.name, [movie], seed) for movie in movies]
    for role in get_args(Role):
        some = [movie for movie in movies if movie.role == role]
        if len(some) > 1:
            rows.append(_recorded_row(ALL, some, seed))
    return rows


def _recorded_row(name: str, movies: Sequence[RecordedMovie], seed: int) -> RecordedRow:
    records = [record for movie in movies for record in movie.records]
    single = sum(len(movie.records) == 1 for movie in movies)
    refused = next((record.refused for record in records if record.refused is not None), None)
    return RecordedRow(
        file=name,
        role=movies[0].role,
        frames=len(records),
        wrong={way: _wrong(movies, way, seed) for way in WAYS},
        unjudged=sum(record.outcome.decision.flag == "unjudged" for record in records),
        scores={score.key: _quantiles(values(score, records)) for score in MEASURED},
        refused=refused,
        note="one frame, judged as one: nothing to compare it with" if single == len(movies) else "",
    )


def _wrong(movies: Sequence[RecordedMovie], way: str, seed: int) -> Rate:
    is_suspect = suspect(way)
    if movies[0].role == "dark":
        whole = [(movie.path.name, movie.records) for movie in movies]
        return rate(whole, lambda record: not is_suspect(record), seed=seed)
    return rate([(movie.path.name, movie.records[1:]) for movie in movies], is_suspect, seed=seed)


def _quantiles(found: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(found, QUANTILES)) if found else ()
