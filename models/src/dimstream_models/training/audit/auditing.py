"""One audit: applies a bundle to simulated movies of every condition, and to recorded movies.

It also checks the support map pixel by pixel where the truth is known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm import tqdm

from dimstream_models.bundle import Bundle
from dimstream_models.quality.support_map import PREDICTED, UNSUPPORTED
from dimstream_models.training.audit.conditions import Condition, conditions
from dimstream_models.training.audit.judged_movies import FollowedFrame, FrameRecord, MovieFollower
from dimstream_models.training.audit.simulated_movies import (
    PHYSICS,
    Extent,
    Physics,
    SimulatedMovie,
    simulate,
)
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.pairs.images import ImageFile, read_planes

NEAR_PX: Final = 7
"""Side of the square around a pixel within which structure counts as the pixel's own: 3 px to each side."""
INVENTED: Final = 0.1
"""Predicted structure is invented if no truth near it reaches this share of the dose."""
REAL: Final = 0.25
"""Predicted structure is real if truth near it reaches this share of the dose; between both it is ignored."""


@dataclass(frozen=True)
class PixelTally:
    """Numbers of invented and real predicted pixels, and how many of these are marked as unsupported."""

    invented: int = 0
    invented_unsupported: int = 0
    real: int = 0
    real_unsupported: int = 0

    def __add__(self, other: PixelTally) -> PixelTally:
        return PixelTally(
            self.invented + other.invented,
            self.invented_unsupported + other.invented_unsupported,
            self.real + other.real,
            self.real_unsupported + other.real_unsupported,
        )


def tally_pixels(bits: NDArray[np.uint8], truth: NDArray[np.float32], dose: float) -> PixelTally:
    """Return the tally of one frame.

    Parameters
    ----------
    bits : ndarray
        (H, W), its support map, see `quality.support_map`.
    truth : ndarray
        (H, W), expected photons of the sample.
    dose : float
        Expected photons on a typical structure's peak; 0: all predicted structure is invented.
    """
    predicted, unsupported = ((bits & bit).astype(bool) for bit in (PREDICTED, UNSUPPORTED))
    near = ndimage.maximum_filter(truth, NEAR_PX) / dose if dose else np.zeros_like(truth)
    invented, real = predicted & (near < INVENTED), predicted & (near >= REAL)
    return PixelTally(
        int(invented.sum()),
        int((invented & unsupported).sum()),
        int(real.sum()),
        int((real & unsupported).sum()),
    )


Role = Literal["signal", "dark"]
Job = TypeVar("Job")
Done = TypeVar("Done")

QUICK: Final = Extent(side_px=(80, 96), frames=(8, 9))
DYING_TIMES: Final = 2
"""Factor for the number of movies of conditions in which the sample ends, because each has only one end."""
SMALLEST_PX: Final = 16


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """Settings of an audit.

    Parameters
    ----------
    movies : int
        Movies of each condition and simulator; conditions with an end of the sample have twice as many.
    split_every : int
        The photons of every n-th frame are split; 0: never.
    quick : bool
        Only check that the audit runs: fewer conditions, small and short movies, one of each.
    """

    seed: int = 0
    movies: int = 3
    split_every: int = 4
    quick: bool = False


@dataclass(frozen=True, eq=False)
class Shown:
    """One frame for the report; images (H, W)."""

    name: str
    raw: NDArray[Any]
    prediction: NDArray[np.float32]
    truth: NDArray[np.float32]
    support: NDArray[np.uint8]
    dose: float
    flag: str


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditedMovie:
    """A simulated movie with its results.

    Parameters
    ----------
    doses : tuple of float
        Dose of each frame.
    changes_at : int or None
        See `SimulatedMovie`.
    pixels, with_split : PixelTally
        Of the frames whose photons were split (or of all, if none were), without and with the pixels on which
        the halves disagree.
    """

    physics: Physics
    condition: Condition
    number: int
    shape: tuple[int, int]
    doses: tuple[float, ...]
    changes_at: int | None
    records: tuple[FrameRecord, ...]
    pixels: PixelTally
    with_split: PixelTally
    shown: Shown | None


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedMovie:
    """A recorded movie with its results."""

    path: Path
    role: Role
    sha256: str
    shape: tuple[int, int]
    dtype: str
    records: tuple[FrameRecord, ...]


@dataclass(frozen=True, eq=False)
class Audit:
    """All movies of an audit with their results."""

    bundle: Bundle
    settings: AuditSettings
    simulated: tuple[AuditedMovie, ...]
    recorded: tuple[RecordedMovie, ...]


def run_audit(
    bundle: Bundle, settings: AuditSettings, *, signal: Sequence[Path] = (), dark: Sequence[Path] = ()
) -> Audit:
    """Apply a bundle to simulated and recorded movies, and return all results.

    Parameters
    ----------
    signal, dark : sequence of Path
        Image files, each one movie: with a sample, and without.

    Raises
    ------
    CannotEvaluate
        When the settings are not valid, the network does not fit, or a file's frames are too small.
    InvalidPairs
        When a file cannot be read.
    """
    if settings.movies < 1 or settings.split_every < 0 or settings.seed < 0:
        raise CannotEvaluate(
            "expected at least one movie of each condition, and a seed and a distance of split frames of"
            f" 0 or more, got {settings.movies}, {settings.seed} and {settings.split_every}"
        )
    follower = MovieFollower(bundle, split_every=settings.split_every)
    files: list[tuple[Path, Role]] = [(path, "signal") for path in signal]
    files += [(path, "dark") for path in dark]
    recorded = [_recorded(follower, *file) for file in tqdm(files, desc="recorded movies", unit="file")]
    jobs = list(plan(settings))
    simulated = _in_threads(lambda job: _simulated(follower, settings, *job), jobs, "simulated movies")
    return Audit(bundle, settings, tuple(simulated), tuple(recorded))


def plan(settings: AuditSettings) -> Iterator[tuple[Condition, Physics, int]]:
    """Yield the simulated movies of an audit: condition, simulator and number."""
    for condition in conditions(quick=settings.quick):
        times = DYING_TIMES if condition.kind == "dying" else 1
        for number in range(1 if settings.quick else times * settings.movies):
            for physics in PHYSICS:
                yield condition, physics, number


def served(values: NDArray[Any]) -> NDArray[Any]:
    """Return counts (..., H, W) in a pixel type that the server accepts.

    Whole numbers become uint16 if they fit; otherwise all become float32.
    """
    if values.dtype in (np.uint8, np.uint16):
        return values
    fits = values.dtype.kind in "ui" and values.min() >= 0 and values.max() <= np.iinfo(np.uint16).max
    return values.astype(np.uint16 if fits else np.float32)


def _simulated(
    follower: MovieFollower, settings: AuditSettings, condition: Condition, physics: Physics, number: int
) -> AuditedMovie:
    extent = QUICK if settings.quick else Extent()
    movie = simulate(condition, physics, number, seed=settings.seed, extent=extent)
    every = max(settings.split_every, 1)
    to_show = (len(movie.counts) - 1) // every * every if condition.shown and not number else None
    records, pixels, with_split, shown = [], PixelTally(), PixelTally(), None
    for frame in follower.follow(movie.counts):
        seq = frame.record.seq
        if seq % every == 0:
            pixels += tally_pixels(frame.support, movie.truth[seq], movie.doses[seq])
        if frame.with_split is not None:
            with_split += tally_pixels(frame.with_split, movie.truth[seq], movie.doses[seq])
        if seq == to_show:
            shown = _shown(movie, frame)
        records.append(frame.record)
    return AuditedMovie(
        physics=physics,
        condition=condition,
        number=number,
        shape=movie.counts.shape[1:],
        doses=movie.doses,
        changes_at=movie.changes_at,
        records=tuple(records),
        pixels=pixels,
        with_split=with_split,
        shown=shown,
    )


def _shown(movie: SimulatedMovie, frame: FollowedFrame) -> Shown:
    seq = frame.record.seq
    return Shown(
        name=f"{movie.condition.name} ({movie.physics}), frame {seq}",
        raw=movie.counts[seq],
        prediction=frame.prediction,
        truth=movie.truth[seq],
        support=frame.support if frame.with_split is None else frame.with_split,
        dose=movie.doses[seq],
        flag=frame.record.outcome.decision.flag,
    )


def _recorded(follower: MovieFollower, path: Path, role: Role) -> RecordedMovie:
    file = ImageFile(path)
    planes = served(read_planes(file).values)
    if min(planes.shape[1:]) < max(SMALLEST_PX, follower.bundle.ssim.window):
        raise CannotEvaluate(
            f"{path}: expected frames of at least {SMALLEST_PX} px a side, got {planes.shape[1:]}: crop less"
        )
    return RecordedMovie(
        path=path,
        role=role,
        sha256=file.sha256(),
        shape=planes.shape[1:],
        dtype=str(planes.dtype),
        records=tuple(frame.record for frame in follower.follow(planes)),
    )


def _in_threads(work: Callable[[Job], Done], jobs: Sequence[Job], what: str) -> Iterable[Done]:
    """Yield the result of each job, in order; the first failure, or Ctrl-C, ends all."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        return list(tqdm(pool.map(work, jobs), total=len(jobs), desc=what, unit="movie"))
    finally:
        pool.shutdown(cancel_futures=True)
