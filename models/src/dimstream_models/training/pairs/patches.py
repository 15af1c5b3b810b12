"""Patches of prepared fields of view, read from disk when they are needed."""

from __future__ import annotations

import math
from enum import IntEnum
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from dimstream_models.training.errors import InvalidPairs
from dimstream_models.training.fitting.batches import Batch
from dimstream_models.training.pairs.prepared import Counts, Dose, Prepared, PreparedField, Role
from dimstream_models.training.settings import PairsSettings


class Stream(IntEnum):
    """Independent streams of random numbers from one seed."""

    CHOICE = 0
    ORDER = 1
    TURNS = 2
    SPLIT = 3


class PatchSource:
    """Patches of registered pairs: a `SampleSource` that keeps no images in memory.

    A batch depends only on the seed and the step. In every epoch, training patches have a new order and new
    orientations. Those of other roles always have the same order, and are not turned.

    Parameters
    ----------
    prepared : Prepared
        Fields with low dose and high dose.
    role : Role
        Role of the fields to use.
    settings : PairsSettings
        Grid, filter and augmentation.
    batch, patch_px : int
        Patches per step and their side; the last step of an epoch may have fewer.
    seed : int
        Seed of the whole run.

    Raises
    ------
    InvalidPairs
        When there are no fields of that role, they have no high dose, or a patch is larger than one.
    InvalidPrepared
        When a file is not the one that was prepared.
    """

    def __init__(
        self, prepared: Prepared, role: Role, settings: PairsSettings, *, batch: int, patch_px: int, seed: int
    ) -> None:
        if not all(field.has_high for field in prepared.of(role)):
            raise InvalidPairs(
                f"{prepared.folder} has {role} fields without high dose: prepare them with a clean image "
                "for each, or set pairs.split_photons to train on photon counts alone"
            )
        self.cutter = PatchCutter(
            prepared, role, settings, truth="high", batch=batch, patch_px=patch_px, seed=seed
        )
        self.steps_per_epoch = self.cutter.steps_per_epoch

    def batch(self, step: int) -> Batch:
        """Return the patches of one step, counted from 0 over all epochs."""
        low, high = torch.from_numpy(self.cutter.cut(step).astype(np.float32))[:, :, None]
        return Batch(low, high)  # (B, 1, y, x) each


class PatchCutter:
    """Cuts the patches of a step out of the files; parameters as in `PatchSource`.

    The patches of the dose `truth` decide which patches are empty; `truth` is also the last dose that is cut.
    """

    def __init__(
        self,
        prepared: Prepared,
        role: Role,
        settings: PairsSettings,
        *,
        truth: Dose,
        batch: int,
        patch_px: int,
        seed: int,
    ) -> None:
        self.prepared, self.fields, self.training = prepared, prepared.of(role), role == "training"
        if not self.fields:
            raise InvalidPairs(f"{prepared.folder} has no {role} fields: prepare again with such fields")
        prepared.check(self.fields)
        self.planes = 1 if truth == "low" else 2
        self.size, self.patch_px, self.seed = batch, patch_px, seed
        self.augmentation = settings.augmentation if self.training else "none"
        self.places = self._choose(settings)
        self.steps_per_epoch = math.ceil(len(self.places) / batch)
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def cut(self, step: int) -> Counts:
        """Return the patches of one step, (doses, B, y, x)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        chosen = self.places[self._order(epoch)[position * self.size :][: self.size]]
        patches = np.empty((self.planes, len(chosen), self.patch_px, self.patch_px), np.uint16)
        for into, place, turn in zip(range(len(chosen)), chosen, self._turns(step, len(chosen)), strict=True):
            self._cut_one(patches[:, into], place, turn)
        return patches

    def _cut_one(self, into: Counts, place: NDArray[np.int32], turn: NDArray[np.bool_]) -> None:
        field, top, left = place
        window = np.s_[top : top + self.patch_px, left : left + self.patch_px]
        flip, mirror, transpose = turn
        for plane, image in enumerate(self.prepared.open(self.fields[field])[: self.planes]):
            assert image is not None  # PatchSource refused fields without high dose
            patch = image[window][:: -1 if flip else 1, :: -1 if mirror else 1]
            into[plane] = patch.T if transpose else patch

    def _turns(self, step: int, size: int) -> NDArray[np.bool_]:  # (B, 3)
        """Return which patches are flipped, mirrored and transposed, (patches, 3)."""
        if self.augmentation == "none":
            return np.zeros((size, 3), bool)
        turns = self.generator(Stream.TURNS, step).random((size, 3)) < 0.5
        turns[:, 2] &= self.augmentation == "flips_and_turns"
        return turns

    def _draw_order(self, epoch: int) -> NDArray[np.intp]:
        number = len(self.places)
        return self.generator(Stream.ORDER, epoch).permutation(number) if self.training else np.arange(number)

    def _choose(self, settings: PairsSettings) -> NDArray[np.int32]:
        places = _grid(self.fields, self.patch_px, settings.stride_px or self.patch_px)
        if settings.empty_threshold:
            norms = self._norms(places)
            places = places[norms >= settings.empty_threshold * norms.max()]
        if self.training and settings.max_patches is not None and settings.max_patches < len(places):
            drawn = self.generator(Stream.CHOICE, 0).permutation(len(places))[: settings.max_patches]
            places = places[np.sort(drawn)]
        return places

    def _norms(self, places: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the norm of each patch of the truth, (patches,), with one field in memory at a time."""
        norms = np.empty(len(places))
        for index, field in enumerate(self.fields):
            here = places[:, 0] == index
            truth = self.prepared.open(field)[self.planes - 1]
            assert truth is not None  # PatchSource refused fields without high dose
            norms[here] = _window_norms(truth, places[here, 1:], self.patch_px)
        return norms

    def generator(self, stream: Stream, counter: int) -> np.random.Generator:
        """Return the random numbers of one step or epoch."""
        return np.random.default_rng((self.seed, stream, counter))


def _grid(fields: tuple[PreparedField, ...], patch_px: int, stride_px: int) -> NDArray[np.int32]:
    """Return (field, top, left) of all patches, (patches, 3); the last row and column touch the border."""
    small = [field for field in fields if min(field.shape) < patch_px]
    if small:
        smallest = min(small, key=lambda field: min(field.shape))
        height, width = smallest.shape
        raise InvalidPairs(
            f"expected fields of at least fit.patch_px = {patch_px} px a side, got {height} x {width} px in"
            f" {smallest.name} ({smallest.sources[0].path}), the smallest of {len(small)} that are"
            f" smaller: set fit.patch_px to at most {min(height, width) // 8 * 8}, or leave these fields out"
        )
    places = []
    for index, field in enumerate(fields):
        tops, lefts = (_starts(side, patch_px, stride_px) for side in field.shape)
        top, left = np.meshgrid(tops, lefts, indexing="ij")
        places.append(np.stack([np.full_like(top, index), top, left], axis=-1).reshape(-1, 3))
    return np.concatenate(places)


def _starts(side: int, patch_px: int, stride_px: int) -> NDArray[np.int32]:
    last = side - patch_px
    return np.unique(np.append(np.arange(0, last, stride_px), last)).astype(np.int32)


def _window_norms(
    image: Counts, corners: NDArray[np.int32], patch_px: int
) -> NDArray[np.float64]:  # one for each corner
    """Return the root of the sum of squares of each window, from cumulative sums over the image (H, W)."""
    sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1))
    sums[1:, 1:] = (image.astype(float) ** 2).cumsum(0).cumsum(1)
    top, left = corners.T
    bottom, right = top + patch_px, left + patch_px
    squares = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return np.asarray(np.sqrt(np.maximum(squares, 0)))
