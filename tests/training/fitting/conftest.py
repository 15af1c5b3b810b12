"""Samples that are drawn in memory, so that a loop can be tested without scenes or files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dimstream_models.training.fitting.batches import Batch
from dimstream_models.training.fitting.learner import Learner
from dimstream_models.training.fitting.loop import Trainer
from dimstream_models.training.fitting.record import begin_record
from dimstream_models.training.fitting.sources import Sources
from dimstream_models.training.settings import Recipe


@dataclass
class DrawnSource:
    """Poisson counts of a striped truth, each step's times `spoil(step)`."""

    steps_per_epoch: int = 5
    size: int = 2
    side: int = 16
    spoil: Callable[[int], float] = lambda step: 1.0

    def batch(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(step)
        stripes = 4 * torch.rand((self.size, 1, 1, self.side), generator=generator)
        truth = stripes.expand(self.size, 1, self.side, self.side).contiguous()
        counts = torch.poisson(truth, generator=generator)
        factor = self.spoil(step)  # once: it may send a signal, and a second one is obeyed at once
        return Batch(factor * counts, factor * truth)


TrainerFactory = Callable[..., Trainer]


@pytest.fixture
def begin(tiny_recipe: Recipe, tmp_path: Path) -> TrainerFactory:
    """Return a function that begins, or goes on with, a run on drawn samples.

    It takes the run's folder, `spoil` of the training samples, `dropout`, and anything of `FitSettings`.
    """

    def trainer(
        run: Path = tmp_path,
        *,
        spoil: Callable[[int], float] = lambda step: 1.0,
        dropout: float = 0.0,
        **settings: Any,
    ) -> Trainer:
        run.mkdir(exist_ok=True)
        changed = tiny_recipe.model_dump()
        changed["fit"] |= settings
        changed["network"]["dropout"] = dropout
        recipe = Recipe.model_validate(changed)
        sources = Sources(DrawnSource(spoil=spoil), DrawnSource(), dose_ratio=1.0, hashes={})
        record = begin_record(recipe, batch=2, dose_ratio=1.0, data={}, device="cpu")
        learner = Learner(recipe, device=torch.device("cpu"))
        return Trainer(recipe.fit, learner, sources, run=run, record=record, report=lambda row: None)

    return trainer
