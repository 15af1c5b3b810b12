"""How often the flag is wrong, and how soon it detects that a sample has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dimstream_models.training.audit.auditing import AuditedMovie
from dimstream_models.training.audit.conditions import Kind
from dimstream_models.training.audit.intervals import Estimate, Tally, clopper_pearson, share
from dimstream_models.training.audit.judged_movies import FrameRecord, JudgedFrame
from dimstream_models.training.audit.scores import signal_frames

NOTICED_WITHIN: Final = 5
"""Number of frames after a sample's end within which the flag should be suspect."""
ALLOWED: Final = 0.01
"""Share of false alarms at which detection is measured."""

Judged = Callable[[FrameRecord], JudgedFrame]
WAYS: Final[dict[str, Judged]] = {
    "alone": lambda record: record.alone,
    "with_split": lambda record: record.outcome,
}
"""Without the split-photon check and with it."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Share of frames that are flagged; intervals are 95 %.

    Parameters
    ----------
    frames_low, frames_high : float or None
        Clopper and Pearson's interval, as if frames were independent.
    movies_affected : int
        Number of movies with at least one such frame.
    estimate : Estimate
        Share, with the intervals over movies.
    """

    events: int
    frames: int
    frames_low: float | None
    frames_high: float | None
    movies_affected: int
    estimate: Estimate

    @property
    def highest(self) -> float | None:
        """The highest end of all intervals."""
        ends = [end for end in (self.frames_high, self.estimate.highest) if end is not None]
        return max(ends, default=None)

    def as_dict(self) -> dict[str, object]:
        """Return all values as JSON values."""
        return {
            "events": self.events,
            "frames": self.frames,
            "clopper_pearson_95": [self.frames_low, self.frames_high],
            "movies_affected": self.movies_affected,
            **self.estimate.as_dict(),
        }


@dataclass(frozen=True)
class Death:
    """The end of one sample: frames until the flag was suspect (0: at once); None if it never was.

    Parameters
    ----------
    flagged : int or None
        By the bundle's flag.
    at_allowed : int or None
        By the decision score, at the threshold with `ALLOWED` false alarms.
    """

    physics: str
    condition: str
    dose: float
    flagged: int | None
    at_allowed: int | None


def rate(
    groups: Iterable[tuple[str, Sequence[FrameRecord]]], happened: Callable[[FrameRecord], bool], *, seed: int
) -> Rate:
    """Return how often an event happened in frames.

    Parameters
    ----------
    groups : iterable of (physics, frames)
        One entry per movie.
    """
    tallies = [Tally(physics, sum(map(happened, records)), len(records)) for physics, records in groups]
    tallies = [tally for tally in tallies if tally.whole]
    events, frames = (int(sum(getattr(tally, name) for tally in tallies)) for name in ("part", "whole"))
    low, high = clopper_pearson(events, frames) if frames else (None, None)
    affected = sum(tally.part > 0 for tally in tallies)
    return Rate(
        events=events,
        frames=frames,
        frames_low=low,
        frames_high=high,
        movies_affected=affected,
        estimate=share(tallies, seed=seed),
    )


def false_alarms(movies: Sequence[AuditedMovie], way: str, *, seed: int) -> Rate:
    """Return the rate of suspect frames in movies of a sample, without first frames."""
    return rate(((movie.physics, movie.records[1:]) for movie in movies), suspect(way), seed=seed)


def missed_frames(movies: Sequence[AuditedMovie], way: str, *, seed: int) -> Rate:
    """Return the rate of frames that are not suspect in movies without a sample, including first frames."""
    is_suspect = suspect(way)
    groups = ((movie.physics, movie.records) for movie in movies)
    return rate(groups, lambda record: not is_suspect(record), seed=seed)


def suspect(way: str) -> Callable[[FrameRecord], bool]:
    """Return a function that tells whether a frame is suspect, with or without the split-photon check."""
    judged = WAYS[way]
    return lambda record: judged(record).decision.flag == "suspect"


def of_kind(movies: Sequence[AuditedMovie], kind: Kind) -> list[AuditedMovie]:
    """Return the movies of one kind."""
    return [movie for movie in movies if movie.condition.kind == kind]


def allowing_threshold(movies: Sequence[AuditedMovie], way: str) -> float | None:
    """Return the decision score that `ALLOWED` of the frames with enough photons are below; None without
    frames."""
    judged = WAYS[way]
    found = [judged(record).margin for movie in movies for record in signal_frames(movie)]
    return float(np.quantile(found, ALLOWED, method="lower")) if found else None


def deaths(movies: Sequence[AuditedMovie], way: str) -> list[Death]:
    """Return how long it took to detect each sample's end."""
    judged, is_suspect, threshold = WAYS[way], suspect(way), allowing_threshold(movies, way)
    found = []
    for movie in of_kind(movies, "dying"):
        assert movie.changes_at is not None  # movies of this kind always have an end
        after = movie.records[movie.changes_at :]
        below = [threshold is not None and judged(record).margin < threshold for record in after]
        found.append(
            Death(
                movie.physics,
                movie.condition.name,
                movie.condition.dose,
                _first([is_suspect(record) for record in after]),
                _first(below),
            )
        )
    return found


def noticed(found: Sequence[Death], *, by: str, within: int = NOTICED_WITHIN, seed: int) -> Estimate:
    """Return the share of ends that were detected within the first `within` frames after them.

    Parameters
    ----------
    by : str
        "flagged" or "at_allowed".
    """
    delays = [(death.physics, getattr(death, by)) for death in found]
    tallies = [Tally(physics, delay is not None and delay < within, 1) for physics, delay in delays]
    return share(tallies, seed=seed)


def _first(marks: Sequence[bool]) -> int | None:
    return next((place for place, mark in enumerate(marks) if mark), None)
