"""Where a fit's samples come from: simulated scenes, or patches of prepared pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dimstream_models.training.errors import InvalidRecipe
from dimstream_models.training.fitting.batches import SampleSource
from dimstream_models.training.settings import Recipe, SimulationSettings
from dimstream_models.training.simulation.samples import Sampler, SimulatedSource
from dimstream_models.training.simulation.scenes import Purpose, draw_library

VALIDATION_BATCHES = 24  # of simulated scenes


@dataclass(frozen=True)
class Sources:
    """What a fit learns from and what it is judged by."""

    training: SampleSource
    validation: SampleSource
    dose_ratio: float  # mean truth over mean counts
    hashes: Mapping[str, str]  # identity of the data, for the record


def open_sources(recipe: Recipe, *, batch: int, device: torch.device) -> Sources:
    """Return the sources of a recipe, with `batch` patches in a step."""
    if recipe.simulation is None:
        raise InvalidRecipe("training on pairs is not there yet")
    training = _sampler(recipe, recipe.simulation, "training", recipe.simulation.fields, device)
    validation = _sampler(
        recipe, recipe.simulation, "validation", recipe.simulation.validation_fields, device
    )
    patch_px = recipe.fit.patch_px
    return Sources(
        SimulatedSource(
            training, size=batch, patch_px=patch_px, steps_per_epoch=recipe.simulation.steps_per_epoch
        ),
        SimulatedSource(validation, size=batch, patch_px=patch_px, steps_per_epoch=VALIDATION_BATCHES),
        dose_ratio=1.0,  # the truth is the expected photons of the very same exposure
        hashes={},
    )


def _sampler(
    recipe: Recipe, simulation: SimulationSettings, purpose: Purpose, fields: int, device: torch.device
) -> Sampler:
    library = torch.from_numpy(draw_library(recipe.seed, simulation, purpose=purpose, fields=fields))
    return Sampler(library.to(device), simulation, recipe.seed)
