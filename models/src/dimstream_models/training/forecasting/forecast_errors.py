"""Forecasts for each movie, frame by frame, compared with what happened."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from tqdm import tqdm

from dimstream_models.bundle import Bundle
from dimstream_models.training.audit.judged_movies import MovieFollower
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.forecasting.bleaching import LAWS, BleachingMovie, bleaching_movie

STAYS: Final = 3
"""Suspect frames in a row after which a movie is not continued."""
MOVIES: Final = "movies.jsonl"


@dataclass(frozen=True)
class ForeseenMovie:
    """One movie.

    Parameters
    ----------
    scores : list of float
        Structure score of each frame.
    left : list
        `frames`, `earliest` and `latest` of each frame's forecast; None without a forecast.
    ended : int or None
        Its first suspect frame; None if there was none.
    reason : str or None
        Why that frame is suspect.
    """

    number: int
    law: str
    physics: str
    side_px: int
    dose: float
    background: float
    scores: list[float]
    left: list[tuple[float, float, float] | None]
    ended: int | None
    reason: str | None

    def forecasts(self) -> Iterator[tuple[int, tuple[float, float, float]]]:
        """Yield the number of frames until its end, and the forecast, for each frame."""
        last = len(self.left) if self.ended is None else self.ended
        for frame, left in enumerate(self.left[:last]):
            if left is not None:
                yield frame, left

    @classmethod
    def of_line(cls, line: str) -> Self:
        """Return the movie that a line of `movies.jsonl` describes."""
        record: dict[str, Any] = json.loads(line)
        record["left"] = [None if one is None else tuple(one) for one in record["left"]]
        return cls(**record)


def foresee(bundle: Bundle, out: Path, *, movies: int, seed: int) -> list[ForeseenMovie]:
    """Judge movies with a bundle as the server does; movies whose results are in the folder are not repeated.

    Parameters
    ----------
    out : Path
        Folder with `movies.jsonl`, to which a line is added for each movie.
    movies : int
        Number of movies of each law.

    Raises
    ------
    CannotEvaluate
        When the folder holds movies of another bundle or seed.
    """
    done = _done(out / MOVIES, bundle, seed)
    numbers = [number for number in range(movies * len(LAWS)) if number not in done]
    follower = MovieFollower(bundle)
    with (out / MOVIES).open("a", encoding="utf-8") as lines:
        for number in tqdm(numbers, desc="movies that bleach", unit="movie"):
            done[number] = _followed(follower, bleaching_movie(number, seed=seed))
            lines.write(json.dumps(asdict(done[number])) + "\n")
            lines.flush()
    return [done[number] for number in range(movies * len(LAWS))]


def _done(path: Path, bundle: Bundle, seed: int) -> dict[int, ForeseenMovie]:
    head = json.dumps({"bundle": bundle.sha256, "seed": seed})
    if not path.exists():
        path.write_text(head + "\n", encoding="utf-8")
        return {}
    first, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    if first != head:
        raise CannotEvaluate(
            f"expected movies of this bundle and seed in {path}, got others: give another folder, or delete "
            "it"
        )
    return {movie.number: movie for movie in map(ForeseenMovie.of_line, _whole(lines))}


def _whole(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines up to an incomplete one."""
    for line in lines:
        if not line.endswith("}"):
            return
        yield line


def _followed(follower: MovieFollower, movie: BleachingMovie) -> ForeseenMovie:
    scores: list[float] = []
    left: list[tuple[float, float, float] | None] = []
    flags: list[str] = []
    reasons: list[str | None] = []
    for one in follower.follow(movie.frames()):
        decision = one.record.outcome.decision
        scores.append(round(one.record.metrics.structure_score, 3))
        left.append(None if decision.left is None else _rounded(decision.left))
        flags.append(decision.flag)
        reasons.append(decision.reason)
        if flags[-STAYS:] == ["suspect"] * STAYS:
            break
    ended = flags.index("suspect") if "suspect" in flags else None
    return ForeseenMovie(
        number=movie.number,
        law=movie.law,
        physics=movie.physics,
        side_px=movie.side_px,
        dose=movie.dose,
        background=movie.background,
        scores=scores,
        left=left,
        ended=ended,
        reason=None if ended is None else reasons[ended],
    )


def _rounded(left: tuple[float, float, float]) -> tuple[float, float, float]:
    frames, earliest, latest = (round(one, 2) for one in left)
    return frames, earliest, latest
