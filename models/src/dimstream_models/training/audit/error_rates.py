"""How often flags are wrong: all figures of an audit, with their confidence intervals.

Of recorded movies, the only known truth is whether they show a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from dimstream_models.training.audit.alarms import (
    WAYS,
    Death,
    Rate,
    allowing_threshold,
    deaths,
    false_alarms,
    missed_frames,
    noticed,
    of_kind,
    rate,
    suspect,
)
from dimstream_models.training.audit.auditing import Audit, AuditedMovie, PixelTally, RecordedMovie, Role
from dimstream_models.training.audit.conditions import ENOUGH_PHOTONS, Condition
from dimstream_models.training.audit.intervals import Estimate, Tally, share
from dimstream_models.training.audit.judged_movies import FrameRecord
from dimstream_models.training.audit.scores import MEASURED, AreaRow, areas, values

QUANTILES: Final = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
ALL: Final = "all"


@dataclass(frozen=True, kw_only=True)
class RecordedRow:
    """Results of one recorded file, or of all files of a role together (then `file` is "all").

    Parameters
    ----------
    wrong : mapping
        By way: false alarms for signal, missed frames for dark.
    scores : mapping
        The `QUANTILES` of each score.
    refused : str or None
        Why photons were not split although they should have been.
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
    """Return a row for each file, and one for all files of a role if there are several."""
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
        note="only one frame: there is no other frame to compare with" if single == len(movies) else "",
    )


def _wrong(movies: Sequence[RecordedMovie], way: str, seed: int) -> Rate:
    is_suspect = suspect(way)
    if movies[0].role == "dark":
        whole = [(movie.path.name, movie.records) for movie in movies]
        return rate(whole, lambda record: not is_suspect(record), seed=seed)
    return rate([(movie.path.name, movie.records[1:]) for movie in movies], is_suspect, seed=seed)


def _quantiles(found: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(found, QUANTILES)) if found else ()


CLAIMED: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Probabilities at which claimed and measured shares are compared."""
ENOUGH: Final = f"all of at least {ENOUGH_PHOTONS:g} photon"

By = Literal["all", "condition", "dose", "background"]
Probability = Literal["p_signal", "p_dark"]
CLAIMS: Final[Mapping[str, tuple[Probability, Callable[[Condition], bool]]]] = {
    "movies of a sample": ("p_signal", lambda each: each.kind == "signal" and not each.jumps),
    "empty movies": ("p_dark", lambda each: each.kind == "empty"),
    "empty movies, flat": ("p_dark", lambda each: each.kind == "empty" and each.blemish == "none"),
}
"""Probabilities that the flag states, and the movies for which they hold. Frames before and after a jump of
the stage are not adjacent."""


@dataclass(frozen=True)
class RateRow:
    """A rate for one condition, or for several together."""

    name: str
    way: str
    rate: Rate


@dataclass(frozen=True)
class PixelRow:
    """Accuracy of the support map for a group of movies.

    Parameters
    ----------
    recall, precision : Estimate
        Share of the invented pixels that are marked as unsupported, and of the marked pixels that are
        invented.
    real_lost : Estimate
        Share of the real pixels that are marked as unsupported.
    invented : Estimate
        Share of invented pixels among both: the precision of random marks.
    """

    by: By
    name: str
    way: str
    recall: Estimate
    precision: Estimate
    real_lost: Estimate
    invented: Estimate


@dataclass(frozen=True)
class ClaimRow:
    """How often a probability stated by the flag is at most `claimed`.

    Parameters
    ----------
    of : str
        Group of movies: one of `CLAIMS`.
    """

    of: str
    probability: Probability
    claimed: float
    measured: Estimate


@dataclass(frozen=True, kw_only=True)
class Figures:
    """All figures of an audit."""

    areas: tuple[AreaRow, ...]
    false_alarms: tuple[RateRow, ...]
    missed: tuple[RateRow, ...]
    saturated: tuple[RateRow, ...]
    deaths: Mapping[str, tuple[Death, ...]]
    noticed: Mapping[str, Mapping[str, Estimate]]
    thresholds_at_allowed: Mapping[str, float | None]
    pixels: tuple[PixelRow, ...]
    claims: tuple[ClaimRow, ...]
    recorded: tuple[RecordedRow, ...]

    def area(self, score: str) -> Estimate:
        """Return the area under the ROC curve of a score over all conditions."""
        return next(row.estimate for row in self.areas if (row.score, row.condition) == (score, None))


def measure(audit: Audit) -> Figures:
    """Return all figures of an audit; the same audit gives the same figures."""
    movies, seed = audit.simulated, audit.settings.seed
    ways = {way: tuple(deaths(movies, way)) for way in WAYS}
    return Figures(
        areas=tuple(areas(movies, seed=seed)),
        false_alarms=tuple(_false_alarms(movies, seed)),
        missed=tuple(_missed(movies, seed)),
        saturated=tuple(_saturated(movies, seed)),
        deaths=ways,
        noticed={
            way: {by: noticed(_enough(found), by=by, seed=seed) for by in ("flagged", "at_allowed")}
            for way, found in ways.items()
        },
        thresholds_at_allowed={way: allowing_threshold(movies, way) for way in WAYS},
        pixels=tuple(_pixels(movies, seed)),
        claims=tuple(_claims(movies, seed)),
        recorded=tuple(measure_recorded(audit.recorded, seed=seed)),
    )


def _enough(found: Sequence[Death]) -> list[Death]:
    return [death for death in found if death.dose >= ENOUGH_PHOTONS]


def _false_alarms(movies: Sequence[AuditedMovie], seed: int) -> list[RateRow]:
    groups = _by_condition(of_kind(movies, "signal"))
    groups[ENOUGH] = [movie for movie in of_kind(movies, "signal") if movie.condition.dose >= ENOUGH_PHOTONS]
    return [
        RateRow(name, way, false_alarms(some, way, seed=seed))
        for name, some in groups.items()
        for way in WAYS
    ]


def _missed(movies: Sequence[AuditedMovie], seed: int) -> list[RateRow]:
    groups = {**_by_condition(of_kind(movies, "empty")), ALL: of_kind(movies, "empty")}
    return [
        RateRow(name, way, missed_frames(some, way, seed=seed))
        for name, some in groups.items()
        for way in WAYS
    ]


def _saturated(movies: Sequence[AuditedMovie], seed: int) -> list[RateRow]:
    rows = []
    for name, some in _by_condition(of_kind(movies, "saturated")).items():
        for way in WAYS:
            groups = ((movie.physics, movie.records) for movie in some)
            rows.append(RateRow(name, way, rate(groups, suspect(way), seed=seed)))
    return rows


def _pixels(movies: Sequence[AuditedMovie], seed: int) -> list[PixelRow]:
    judged = [movie for movie in movies if movie.condition.kind != "saturated"]
    lit = of_kind(movies, "signal")
    groups: list[tuple[By, str, list[AuditedMovie]]] = [("all", ALL, judged)]
    groups += [("condition", name, some) for name, some in _by_condition(judged).items()]
    groups += [("dose", name, some) for name, some in _grouped(lit, lambda movie: movie.condition.dose)]
    groups += [
        ("background", name, some) for name, some in _grouped(lit, lambda movie: movie.condition.background)
    ]
    return [
        _pixel_row(by, name, way, [(movie.physics, getattr(movie, tally)) for movie in some], seed)
        for by, name, some in groups
        for way, tally in (("alone", "pixels"), ("with_split", "with_split"))
    ]


def _pixel_row(by: By, name: str, way: str, tallies: Sequence[tuple[str, PixelTally]], seed: int) -> PixelRow:
    def of(part: str, *wholes: str) -> Estimate:
        pairs = [
            Tally(physics, getattr(each, part), sum(getattr(each, whole) for whole in wholes))
            for physics, each in tallies
        ]
        return share(pairs, seed=seed)

    return PixelRow(
        by,
        name,
        way,
        recall=of("invented_unsupported", "invented"),
        precision=of("invented_unsupported", "invented_unsupported", "real_unsupported"),
        real_lost=of("real_unsupported", "real"),
        invented=of("invented", "invented", "real"),
    )


def _claims(movies: Sequence[AuditedMovie], seed: int) -> list[ClaimRow]:
    rows = []
    for title, (name, belongs) in CLAIMS.items():
        known = [
            (movie.physics, [p for record in movie.records if (p := _claim(record, name)) is not None])
            for movie in movies
            if belongs(movie.condition)
        ]
        for claimed in CLAIMED:
            tallies = [
                Tally(physics, sum(p <= claimed for p in found), len(found)) for physics, found in known
            ]
            rows.append(ClaimRow(title, name, claimed, share(tallies, seed=seed)))
    return rows


def _claim(record: FrameRecord, name: Probability) -> float | None:
    decision = record.outcome.decision
    return decision.p_signal if name == "p_signal" else decision.p_dark


def _by_condition(movies: Sequence[AuditedMovie]) -> dict[str, list[AuditedMovie]]:
    return dict(_grouped(movies, lambda movie: movie.condition.name))


def _grouped(
    movies: Sequence[AuditedMovie], key: Callable[[AuditedMovie], float | str]
) -> list[tuple[str, list[AuditedMovie]]]:
    found: dict[float | str, list[AuditedMovie]] = {}
    for movie in movies:
        found.setdefault(key(movie), []).append(movie)
    if not all(isinstance(each, str) for each in found):
        found = dict(sorted(found.items()))
    return [(each if isinstance(each, str) else f"{each:g}", some) for each, some in found.items()]
