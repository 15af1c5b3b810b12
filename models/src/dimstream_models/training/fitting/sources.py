"""The samples of a fit: simulated scenes, patches of prepared pairs, or patches of movies."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dimstream_models.training.adapting.mixed_targets import HeldPhotons, MixedSource
from dimstream_models.training.adapting.stored_movies import read_stored
from dimstream_models.training.fitting.batches import SampleSource
from dimstream_models.training.pairs.patches import PatchSource
from dimstream_models.training.pairs.photon_split import SplitPhotonSource
from dimstream_models.training.pairs.prepared import Role, read_prepared
from dimstream_models.training.settings import MoviesSettings, PairsSettings, Recipe, SimulationSettings
from dimstream_models.training.simulation.training_samples import (
    Purpose,
    Sampler,
    SimulatedSource,
    draw_library,
)

VALIDATION_BATCHES = 24  # number of simulated scenes


@dataclass(frozen=True)
class Sources:
    """The samples for training and validation."""

    training: SampleSource
    validation: SampleSource
    dose_ratio: float  # ratio of mean truth to mean counts
    hashes: Mapping[str, str]  # identity of the data, for the record


def open_sources(recipe: Recipe, *, batch: int, device: torch.device) -> Sources:
    """Return the sources of a recipe, with `batch` patches per step.

    Raises
    ------
    InvalidPrepared, InvalidPairs
        When the prepared pairs are incomplete, or lack fields for training or for validation.
    NotPhotonCounts
        When photons must be split, but the images are not photon counts.
    CannotAdapt
        When stored movies are incomplete, or smaller than a patch.
    """
    if recipe.pairs is not None:
        return _prepared(recipe, recipe.pairs, batch)
    if recipe.movies is not None:
        return _own_movies(recipe, recipe.movies, batch)
    assert recipe.simulation is not None  # guaranteed by the recipe
    return _simulated(recipe, recipe.simulation, batch, device)


def _prepared(recipe: Recipe, settings: PairsSettings, batch: int) -> Sources:
    prepared = read_prepared(settings.prepared)
    kind = SplitPhotonSource if settings.split_photons else PatchSource

    def source(role: Role) -> SampleSource:
        return kind(prepared, role, settings, batch=batch, patch_px=recipe.fit.patch_px, seed=recipe.seed)

    return Sources(
        source("training"),
        source("validation"),
        dose_ratio=1.0 if settings.split_photons else prepared.dose_ratio(),
        hashes={"prepared": prepared.sha256},
    )


def _own_movies(recipe: Recipe, settings: MoviesSettings, batch: int) -> Sources:
    stored, patch_px = read_stored(settings.stored), recipe.fit.patch_px
    return Sources(
        MixedSource(stored, settings, batch=batch, patch_px=patch_px, seed=recipe.seed),
        HeldPhotons(stored, settings, batch=batch, patch_px=patch_px),
        dose_ratio=1.0,  # a target has the brightness of the input
        hashes={"movies": stored.sha256, **{movie.name: movie.sha256 for movie in stored.index.movies}},
    )


def _simulated(recipe: Recipe, settings: SimulationSettings, batch: int, device: torch.device) -> Sources:
    def library(purpose: Purpose, fields: int) -> Tensor:
        return torch.from_numpy(draw_library(recipe.seed, settings, purpose=purpose, fields=fields))

    def source(scenes: Tensor, steps_per_epoch: int) -> SimulatedSource:
        sampler = Sampler(scenes.to(device), settings, recipe.seed)
        return SimulatedSource(
            sampler, size=batch, patch_px=recipe.fit.patch_px, steps_per_epoch=steps_per_epoch
        )

    training = library("training", settings.fields)
    validation = library("validation", settings.validation_fields)
    return Sources(
        source(training, settings.steps_per_epoch),
        source(validation, VALIDATION_BATCHES),
        dose_ratio=1.0,  # the truth is the expected photons of the same exposure
        hashes={"training scenes": _sha256(training), "validation scenes": _sha256(validation)},
    )


def _sha256(library: Tensor) -> str:
    return hashlib.sha256(library.numpy().data).hexdigest()
