"""The learning rate of each step and the end of a run, from the settings and the validation losses only.

Nothing is remembered between calls, so a resumed run cannot differ from an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dimstream_models.training.settings import FitSettings


def learning_rate(settings: FitSettings, step: int, *, steps: int, validation: Sequence[float]) -> float:
    """Return the learning rate of one step.

    Parameters
    ----------
    step, steps : int
        Steps taken so far, and in all.
    validation : sequence of float
        Validation loss of each epoch so far.
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "cosine":
        share = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
    if settings.schedule == "plateau":
        return settings.learning_rate * settings.plateau_factor ** plateaus(
            validation, settings.plateau_patience
        )
    return settings.learning_rate


def plateaus(validation: Sequence[float], patience: int) -> int:
    """Return how often `patience` epochs in a row did not improve the validation loss."""
    best, waited, found = math.inf, 0, 0
    for loss in validation:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == patience:
            waited, found = 0, found + 1
    return found


def epochs_since_best(validation: Sequence[float]) -> int:
    """Return the number of epochs since the best validation."""
    return len(validation) - 1 - validation.index(min(validation)) if validation else 0


def finished(settings: FitSettings, validation: Sequence[float]) -> bool:
    """Return whether the run is finished: all epochs are done, or validation has not improved for too
    long."""
    patience = settings.early_stopping_patience
    stalled = patience is not None and epochs_since_best(validation) >= patience
    return stalled or len(validation) >= settings.epochs
