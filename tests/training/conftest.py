"""A recipe so small that a whole run takes seconds."""

from pathlib import Path

import pytest
import torch

from dimstream_models.training.fitting.trainer import fit
from dimstream_models.training.settings import Recipe


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    return Recipe.model_validate(
        {
            "seed": 3,
            "simulation": {"fields": 6, "validation_fields": 2, "side_px": 72, "steps_per_epoch": 10},
            "network": {"filters": [2, 3], "filters_cab": 2, "num_rg": 1, "num_cab": 1},
            "fit": {"epochs": 4, "batch": 2, "patch_px": 32, "warmup_steps": 5},
            "fine_tuning": {"epochs": 1, "learning_rate": 1e-4, "speck_share": 0.5},
            "calibration": {"movies": 2, "frames": 3, "side_px": 64},
            "bundle": {"id": "tiny", "name": "a tiny model", "description": "For tests only."},
        }
    )


@pytest.fixture(scope="session")
def tiny_run(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny recipe."""
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("run")
    fit(tiny_recipe, run)
    return run
