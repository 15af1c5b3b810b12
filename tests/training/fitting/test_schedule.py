"""Learning rate and end of a run, against torch's own scheduler and against a plain count."""

import numpy as np
import pytest
import torch

from dimstream_models.training.fitting.schedule import epochs_since_best, finished, learning_rate, plateaus
from dimstream_models.training.settings import FitSettings

RNG = np.random.default_rng(0)
CURVES = {
    "falls": np.linspace(2, 1, 30).tolist(),
    "stalls": [1.0] * 30,
    "rises": np.linspace(1, 2, 30).tolist(),
    "noisy": (1 + 0.1 * RNG.random(60)).tolist(),
    "falls, then stalls": [3.0, 2.0, 1.0, *[1.5] * 20],
}


@pytest.mark.parametrize("patience", [1, 2, 4])
@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_plateaus_are_torchs_and_keras(curve: list[float], patience: int) -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    # torch reduces one epoch after Keras, whose count of patience the published code has
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, factor=0.2, patience=patience - 1, threshold=0.0, eps=0.0
    )
    settings = FitSettings(plateau_patience=patience, plateau_factor=0.2, learning_rate=1.0)
    for epoch, loss in enumerate(curve, start=1):
        scheduler.step(loss)
        rate = learning_rate(settings, step=9 * epoch, steps=10_000, validation=curve[:epoch])
        assert rate == pytest.approx(optimiser.param_groups[0]["lr"])


def test_plateaus_at_known_curves() -> None:
    assert plateaus([], 4) == 0
    assert plateaus([1, 2, 2, 2], 4) == 0
    assert plateaus([1, 2, 2, 2, 2], 4) == 1
    assert plateaus([1, 2, 2, 2, 2, 0.5, 2, 2, 2, 2], 4) == 2


def test_warm_up_rises_to_the_highest_rate() -> None:
    settings = FitSettings(warmup_steps=4, learning_rate=8e-3, schedule="constant")
    rates = [learning_rate(settings, step, steps=100, validation=[]) for step in range(6)]
    assert rates == pytest.approx([2e-3, 4e-3, 6e-3, 8e-3, 8e-3, 8e-3])


def test_a_cosine_falls_from_the_highest_rate_to_zero() -> None:
    settings = FitSettings(
        warmup_steps=10, learning_rate=2.0, schedule="cosine", early_stopping_patience=None
    )
    rates = [learning_rate(settings, step, steps=110, validation=[]) for step in (10, 60, 110)]
    assert rates == pytest.approx([2.0, 1.0, 0.0])


def test_a_run_ends_after_its_epochs_or_after_its_patience() -> None:
    settings = FitSettings(epochs=9, early_stopping_patience=3)
    assert not finished(settings, [])
    assert not finished(settings, [2, 1, 1.1, 1.0])
    assert finished(settings, [2, 1, 1.1, 1.0, 1.2])
    assert finished(settings, np.linspace(9, 1, 9).tolist())
    assert not finished(settings.model_copy(update={"early_stopping_patience": None}), [1.0] * 8)
    assert epochs_since_best([3, 1, 2, 1]) == 2
