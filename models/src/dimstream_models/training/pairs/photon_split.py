"""Training without clean images: photons are split, and one part is the noisy truth of the other.

Each photon of an image goes to the first part with the same probability, independently. The parts of a
Poisson count are then independent of each other. So a network that predicts one from the other learns the
light itself (Noise2Noise: Lehtinen et al. 2018, arXiv 1803.04189; photons split: Krull et al. 2023, arXiv
2307.06607).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dimstream_models.training.errors import NotPhotonCounts
from dimstream_models.training.fitting.batches import Batch
from dimstream_models.training.pairs.noise import PhotonStatistics, check_photon_counts
from dimstream_models.training.pairs.patches import PatchCutter, Stream
from dimstream_models.training.pairs.prepared import Counts, Prepared, PreparedField, Role
from dimstream_models.training.settings import PairsSettings

__all__ = ["PhotonStatistics", "SplitPhotonSource", "check_photon_counts", "split_photons"]

CHECKED_FIELDS: Final = 64  # fields of view whose noise is measured
CHECKED_FRAMES: Final = 16  # of each


def split_photons(
    counts: NDArray[np.integer], kept_share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split photon counts (..., H, W) into two parts of that shape, and return both.

    Each photon is in the first part with probability `kept_share`.
    """
    kept = rng.binomial(counts, kept_share)
    return kept, counts - kept


class SplitPhotonSource:
    """Patches of low dose alone, their photons split again in each step: a `SampleSource`.

    The network's input is one part; the truth is the other, scaled to the same expectation. So the network
    learns the light at the dose of its input, and the output for whole images has their own dose. Training
    patches are split again in each epoch; those of other roles are always split in the same way.

    Parameters
    ----------
    prepared, role, settings, batch, patch_px, seed
        As in `PatchSource`; the high dose is ignored.

    Raises
    ------
    NotPhotonCounts
        When the images of this role are not photon counts; the message states what was measured.
    InvalidPairs, InvalidPrepared
        As `PatchSource`.
    """

    def __init__(
        self, prepared: Prepared, role: Role, settings: PairsSettings, *, batch: int, patch_px: int, seed: int
    ) -> None:
        self.cutter = PatchCutter(
            prepared, role, settings, truth="low", batch=batch, patch_px=patch_px, seed=seed
        )
        self.steps_per_epoch = self.cutter.steps_per_epoch
        self.kept_share, self.seed, self.training = settings.kept_share, seed, role == "training"
        self.statistics = _check(prepared, role)

    def batch(self, step: int) -> Batch:
        """Return the patches of one step, counted from 0 over all epochs."""
        (counts,) = self.cutter.cut(step)  # (B, y, x)
        split_by = step if self.training else step % self.steps_per_epoch
        rng = self.cutter.generator(Stream.SPLIT, split_by)
        kept, other = split_photons(counts, self.kept_share, rng)
        truth = other * (self.kept_share / (1 - self.kept_share))
        return Batch(_tensor(kept), _tensor(truth))


def _check(prepared: Prepared, role: Role) -> PhotonStatistics:
    try:
        return check_photon_counts(_movies(prepared, prepared.of(role)))
    except NotPhotonCounts as error:
        raise NotPhotonCounts(f"{role} fields of {prepared.folder}: {error}") from error


def _movies(prepared: Prepared, fields: tuple[PreparedField, ...]) -> Iterator[Counts]:
    """Yield the low dose of evenly chosen fields of view, each (T, H, W)."""
    grouped = groupby(fields, key=lambda field: (field.field_of_view, field.shape))
    movies = [list(frames) for _, frames in grouped]
    for frames in movies[:: -(-len(movies) // CHECKED_FIELDS)]:
        yield np.stack([prepared.open(frame)[0] for frame in frames[:CHECKED_FRAMES]])


def _tensor(values: NDArray[np.generic]) -> torch.Tensor:  # (B, 1, y, x)
    return torch.from_numpy(values.astype(np.float32)[:, None])
