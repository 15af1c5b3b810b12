"""Recipes to search: the paper's space for tests that never fit, a tiny one on three tiny days."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from dimstream_models.training.pairs.prepare_folder import prepare
from dimstream_models.training.pairs.prepared import PrepareSettings
from dimstream_models.training.settings import Recipe

TINY: dict[str, Any] = {
    "seed": 3,
    "network": {"filters": [2, 3], "filters_cab": 2, "num_rg": 1, "num_cab": 1},
    "bundle": {"id": "tiny", "name": "a tiny model", "description": "For tests only."},
}


@pytest.fixture(scope="session")
def searched_recipe() -> Recipe:
    """The paper's space and protocol, on data that are not there."""
    return Recipe.model_validate({**TINY, "pairs": {"prepared": Path("nowhere")}, "fit": {"patch_px": 128}})


@pytest.fixture(scope="session")
def prepared_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of blurred filaments at a mean of 2 and of 40 photons: training, validation, test."""
    folder = tmp_path_factory.mktemp("days")
    rng = np.random.default_rng(0)
    for day, fields in (("monday", 4), ("tuesday", 2), ("wednesday", 1)):
        for index in range(fields):
            light = ndimage.gaussian_filter(rng.random((72, 80)) < 0.02, 1.5, output=float)
            for dose, mean in (("low", 2), ("high", 40)):
                path = folder / day / dose / f"{index}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(path, rng.poisson(light * mean / light.mean()).astype(np.uint16))
    settings = PrepareSettings(
        registered=False, validation_days=("tuesday",), test_days=("wednesday",), pixel_size_nm=20
    )
    prepare([folder / day for day in ("monday", "tuesday", "wednesday")], folder / "prepared", settings)
    return folder / "prepared"


@pytest.fixture(scope="session")
def tiny_search(prepared_days: Path) -> Recipe:
    """Four of eight settings, two epochs each; the best two are trained for four."""
    space = {
        "activation": ["leaky_relu", "tanh"],
        "initializer": ["glorot_uniform"],
        "clip_value": [None],
        "l2_weight": [0],
        "learning_rate": [0.01, 0.001],
        "patch_px": [32, 48],
    }
    return Recipe.model_validate(
        {
            **TINY,
            "pairs": {"prepared": prepared_days},
            "fit": {"epochs": 4, "batch": 4, "patch_px": 32},
            "search": {"space": space, "trials": 4, "epochs": 2, "instances": 12, "best": 2},
        }
    )
