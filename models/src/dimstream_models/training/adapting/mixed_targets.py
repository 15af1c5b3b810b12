"""The targets of adaptation: other photons of the same frame, and its neighbouring frames.

Neither target shares photon noise with the network's input, so copying the noise does not reduce the loss
(Noise2Noise: Lehtinen et al. 2018, arXiv 1803.04189). Photons of the same frame are not affected by motion,
but there are few of them, so alone they leave more noise than necessary. Neighbouring frames have many
photons, but teach blur where the sample moved. So both are mixed. The more a movie's neighbouring frames
differ, the less they are used, and pixels that moved are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dimstream_models.training.adapting.frame_similarity import unmoved
from dimstream_models.training.adapting.stored_movies import HELD_SHARE, RELATED, Counts, Stored, StoredMovie
from dimstream_models.training.errors import CannotAdapt
from dimstream_models.training.evaluation.filters import evenly
from dimstream_models.training.fitting.batches import Batch
from dimstream_models.training.pairs.photon_split import split_photons
from dimstream_models.training.settings import MoviesSettings

VALIDATION_PATCHES: Final = 96
LIKE_ENOUGH: Final = (0.85, 0.97)
"""Likeness of neighbouring frames up to which they are not used, and from which on they are used fully."""

Patch = NDArray[np.float64]  # (patch_px, patch_px)
Sample = tuple[Patch, Patch, Patch]
"""The input, its target, and 1 where pixels count."""
Window = tuple[slice, slice]


@dataclass(frozen=True)
class _TrainingMovie:
    """The training frames of one movie.

    Parameters
    ----------
    shown, held : (T, H, W) arrays
        Photons for training, and photons of the same frames that are held out.
    related : (T,) array
        Whether a frame shows the same sample as the one stored before it.
    levels : (T,) array
        Mean counts of each frame.
    trust : float
        How much the neighbouring frames are used, 0 to 1.
    moved_errors : float
        The bound of `frame_similarity.unmoved`.
    """

    shown: Counts
    held: Counts
    related: NDArray[np.bool_]
    levels: NDArray[np.float64]
    trust: float
    moved_errors: float

    def neighbours(self, frame: int) -> list[int]:
        """Return the usable frames directly before and after a frame that show the same sample."""
        if not self.trust:
            return []
        before = [frame - 1] if frame and self.related[frame] else []
        return before + ([frame + 1] if frame + 1 < len(self.shown) and self.related[frame + 1] else [])

    def mean_of_neighbours(self, frame: int, window: Window, photons: Counts) -> tuple[Patch, Patch]:
        """Return the neighbouring frames' mean photons, (y, x), at this frame's brightness, and where nothing
        moved."""
        seen, level = self.shown[frame][window].astype(np.float64), self.levels[frame]
        scales = {each: level / self.levels[each] for each in self.neighbours(frame)}
        still = [
            unmoved(seen, self.shown[each][window] * scale, self.moved_errors)
            for each, scale in scales.items()
        ]
        mean = np.mean([photons[each][window] * scale for each, scale in scales.items()], axis=0)
        return np.asarray(mean, np.float64), np.all(still, axis=0).astype(np.float64)


class MixedSource:
    """Patches of the training frames, each with a target of one of the two kinds: a `SampleSource`.

    A batch depends only on the seed and the step.

    Parameters
    ----------
    stored : Stored
        Movies, of which the training photons are used.
    settings : MoviesSettings
    batch, patch_px : int
        Patches per step and their side.
    seed : int
        Seed of the run.

    Raises
    ------
    CannotAdapt
        When a patch is larger than a frame.
    """

    def __init__(
        self, stored: Stored, settings: MoviesSettings, *, batch: int, patch_px: int, seed: int
    ) -> None:
        self.settings, self.size, self.patch_px, self.seed = settings, batch, patch_px, seed
        self.steps_per_epoch = settings.steps_per_epoch
        self.movies = _training_movies(stored, settings, patch_px)

    def batch(self, step: int) -> Batch:
        """Return the patches of one step, counted from 0 over all epochs."""
        rng = np.random.default_rng((self.seed, step))
        samples = [self._sample(rng) for _ in range(self.size)]
        counts, truth, counted = (_tensor([each[part] for each in samples]) for part in range(3))
        return Batch(counts, truth, counted)

    def _sample(self, rng: np.random.Generator) -> Sample:
        movie = self.movies[int(rng.integers(len(self.movies)))]
        frame = int(rng.integers(len(movie.shown)))
        window = _drawn_window(rng, movie.shown.shape[1:], self.patch_px)
        by_neighbours = rng.random() < self.settings.neighbour_share * movie.trust and movie.neighbours(frame)
        shown = movie.shown[frame][window]
        if by_neighbours:
            sample = (shown.astype(np.float64), *movie.mean_of_neighbours(frame, window, movie.shown))
        else:
            sample = self._split(shown, rng)
        return _turned(sample, rng)

    def _split(self, counts: Counts, rng: np.random.Generator) -> Sample:
        """Return one part of a patch's photons, and the other scaled to the same expectation."""
        share = float(rng.uniform(*self.settings.kept_share))
        kept, other = split_photons(counts.astype(np.int64), share, rng)
        truth = np.asarray(other * (share / (1 - share)), np.float64)
        return kept.astype(np.float64), truth, np.ones(counts.shape)


class HeldPhotons:
    """Patches of the training frames with held-out photons as truth: a `SampleSource` for validation.

    The truth is the held-out photons of the same frame and, if usable, of its neighbouring frames: those of
    the frame alone are too few to compare epochs. The patches and their truths are the same in every epoch.

    Parameters
    ----------
    stored, settings, batch, patch_px
        As in `MixedSource`.
    """

    def __init__(self, stored: Stored, settings: MoviesSettings, *, batch: int, patch_px: int) -> None:
        self.size = batch
        movies = _training_movies(stored, settings, patch_px)
        places = [(movie, *place) for movie in movies for place in _grid(movie.shown, patch_px)]
        self.places = [places[index] for index in evenly(len(places), VALIDATION_PATCHES)]
        self.steps_per_epoch = math.ceil(len(self.places) / batch)

    def batch(self, step: int) -> Batch:
        """Return the patches of one step."""
        start = step % self.steps_per_epoch * self.size
        samples = [_judged_by_held(*place) for place in self.places[start : start + self.size]]
        counts, truth, counted = (_tensor([each[part] for each in samples]) for part in range(3))
        return Batch(counts, truth, counted)


def _judged_by_held(movie: _TrainingMovie, frame: int, window: Window) -> Sample:
    shown = movie.shown[frame][window].astype(np.float64)
    scale = (1 - HELD_SHARE) / HELD_SHARE
    truth = np.asarray(movie.held[frame][window] * scale, np.float64)
    if not (number := len(movie.neighbours(frame))):
        return shown, truth, np.ones(truth.shape)
    mean, counted = movie.mean_of_neighbours(frame, window, movie.held)
    return shown, (truth + number * mean * scale) / (1 + number), counted


def _training_movies(stored: Stored, settings: MoviesSettings, patch_px: int) -> list[_TrainingMovie]:
    """Return every movie's training frames.

    Raises
    ------
    CannotAdapt
        When a patch is larger than a frame.
    """
    movies = []
    for number, movie in enumerate(stored.index.movies):
        shown = stored.shown(number)
        if patch_px > min(shown.shape[1:]):
            raise CannotAdapt(
                f"expected patches of at most {min(shown.shape[1:])} px, the side of a frame of {movie.name},"
                f" got {patch_px}"
            )
        levels = np.array([max(float(frame.mean()), 1e-9) for frame in shown])
        related, errors = stored.related(number), settings.moved_errors
        movies.append(_TrainingMovie(shown, stored.held(number), related, levels, _trust(movie), errors))
    return movies


def _grid(movie: Counts, side: int) -> Iterator[tuple[int, Window]]:
    """Yield frame and window of the patches that cover a movie."""
    tops, lefts = (sorted({*range(0, s - side, side), s - side}) for s in movie.shape[1:])
    for frame, top, left in product(range(len(movie)), tops, lefts):
        yield frame, np.s_[top : top + side, left : left + side]


def _trust(movie: StoredMovie) -> float:
    """Return how much the neighbouring frames are used, 0 to 1. Small motion everywhere is hidden by noise,
    so moved pixels cannot be found then."""
    low, high = LIKE_ENOUGH
    related = [each for each in movie.likeness[: movie.training] if each >= RELATED]
    return float(np.clip((np.median(related) - low) / (high - low), 0, 1)) if related else 0.0


def _drawn_window(rng: np.random.Generator, sides: tuple[int, ...], patch_px: int) -> Window:
    top, left = (int(rng.integers(side - patch_px + 1)) for side in sides)
    return np.s_[top : top + patch_px, left : left + patch_px]


def _turned(sample: Sample, rng: np.random.Generator) -> Sample:
    flip, mirror, transpose = rng.random(3) < 0.5
    turned = [each[:: -1 if flip else 1, :: -1 if mirror else 1] for each in sample]
    counts, truth, counted = [each.T for each in turned] if transpose else turned
    return counts, truth, counted


def _tensor(patches: list[Patch]) -> torch.Tensor:  # (B, 1, y, x)
    return torch.from_numpy(np.stack(patches).astype(np.float32)[:, None])
