"""The flag's thresholds of an adapted network: from its movies, thinned like bleaching, and empty fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from dimstream_models.training.adapting.stored_movies import Counts, Stored
from dimstream_models.training.calibration.threshold import (
    FlagThresholds,
    Movie,
    Origin,
    calibrate_flag,
    ssim_settings,
)
from dimstream_models.training.pairs.photon_split import split_photons
from dimstream_models.training.prediction import Denoise
from dimstream_models.training.settings import Recipe

SHARES: Final = (
    1.0,
    0.5,
    0.25,
)  # shares of the remaining photons, because the sample bleaches during the movie
LARGEST_SIDE: Final = 256  # side of the central part of each frame
MOST_FRAMES: Final = 24  # number of frames of each movie, the last ones
EMPTY_FRAMES: Final = 8  # frames of each empty field
EMPTY_LIGHT: Final = (0.05, 1.0)
"""Light of empty fields, relative to the movies' mean. With less light, no frame shows structure, and all are
suspect for that reason."""


def threshold_of_movies(stored: Stored, recipe: Recipe, denoise: Denoise) -> FlagThresholds:
    """Return the thresholds that separate a sample's movies at several doses from simulated empty fields.

    Raises
    ------
    CannotCalibrate
        When the network cannot distinguish the two.
    """
    settings = recipe.calibration
    names = ", ".join(movie.name for movie in stored.index.movies)
    return calibrate_flag(
        _signal(stored, recipe.seed),
        _empty(stored, settings.movies, recipe.seed),
        denoise,
        ssim_settings(settings.ssim_data_range),
        false_alarm_rate=settings.false_alarm_rate,
        origin=Origin(
            movies=f"the movies that it was adapted to, with all, {_listed(SHARES[1:])} of their photons, and"
            " of simulated empty fields",
            seed=recipe.seed,
            note=f"Movies: {names}",
            one_field=True,
        ),
    )


def _signal(stored: Stored, seed: int) -> Iterator[Movie]:
    for number in range(len(stored.index.movies)):
        frames = _last_frames(stored, number)
        for share in SHARES:
            rng = np.random.default_rng((seed, number, int(100 * share)))
            yield (
                frames
                if share == 1
                else split_photons(frames.astype(np.int64), share, rng)[0].astype(np.uint16)
            )


def _empty(stored: Stored, movies: int, seed: int) -> Iterator[Movie]:
    """Yield movies of photon noise alone, with as much light as the movies, and with less."""
    seen = _last_frames(stored, 0)
    low, high = (share * float(seen.mean()) for share in EMPTY_LIGHT)
    for index, rate in enumerate(np.geomspace(low, high, movies)):
        rng = np.random.default_rng((seed, index, EMPTY_FRAMES))
        yield rng.poisson(rate, (EMPTY_FRAMES, *seen.shape[1:])).astype(np.uint16)


def _last_frames(stored: Stored, number: int) -> Counts:
    """Return the counts of a movie's last frames, (T, H, W), including training frames."""
    deciding = stored.deciding(number)
    before = max(0, MOST_FRAMES - len(deciding))
    shown, held = stored.shown(number), stored.held(number)
    trained = shown[max(0, len(shown) - before) :] + held[max(0, len(held) - before) :]
    return np.concatenate([_middle(trained), _middle(deciding[-MOST_FRAMES:])])


def _middle(frames: Counts) -> Counts:
    starts = [max(0, (side - LARGEST_SIDE) // 2) for side in frames.shape[1:]]
    rows, columns = (slice(start, start + LARGEST_SIDE) for start in starts)
    return np.asarray(frames[:, rows, columns])


def _listed(shares: tuple[float, ...]) -> str:
    return " and ".join(f"{share:.0%}" for share in shares)
