"""A fit on prepared pairs: from TIFF files to a network, resumed exactly, refused when data changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage

from dimstream_models.training.cli import main
from dimstream_models.training.errors import CheckpointMismatch, InvalidPrepared
from dimstream_models.training.fitting.trainer import fit, read_history, read_record
from dimstream_models.training.pairs.prepare_folder import prepare
from dimstream_models.training.pairs.prepared import PrepareSettings, read_prepared
from dimstream_models.training.settings import Recipe, read_recipe

pytestmark = pytest.mark.slow

DOSE_RATIO = 20.0


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten fields of view of blurred points, at a mean of 2 and of 40 photons."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for dose in ("low", "high"):
        (folder / "day" / dose).mkdir(parents=True)
    for index in range(10):
        light = ndimage.gaussian_filter((rng.random((80, 96)) < 0.02).astype(float), 2.0)
        light *= 2 / light.mean()
        for dose, factor in (("low", 1.0), ("high", DOSE_RATIO)):
            counts = rng.poisson(factor * light).astype(np.uint16)
            tifffile.imwrite(folder / "day" / dose / f"{index}.tif", counts)
    settings = PrepareSettings(registered=False, validation_share=0.2, test_share=0.1)
    prepare([folder / "day"], folder / "prepared", settings)
    return folder / "prepared"


def recipe_on(prepared: Path, recipe: Recipe, **parts: dict[str, Any]) -> Recipe:
    settings = recipe.model_dump() | {"simulation": None, "fine_tuning": None}
    settings["pairs"] = {"prepared": prepared}
    settings["fit"] |= {"epochs": 3, "batch": 3, "learning_rate": 0.01}
    for name, values in parts.items():
        settings[name] = settings[name] | values
    return Recipe.model_validate(settings)


NORMALISATIONS = [
    {"kind": "fixed", "value": 4.0},
    {"kind": "maximum", "value": None},
    {"kind": "quantile", "value": 0.99},
]


@pytest.mark.parametrize("normalisation", NORMALISATIONS, ids=lambda each: each["kind"])
def test_pairs_are_learned_in_every_normalisation(
    tiny_recipe: Recipe, prepared: Path, tmp_path: Path, normalisation: dict[str, Any]
) -> None:
    fit(recipe_on(prepared, tiny_recipe, normalisation=normalisation), tmp_path)
    rows = read_history(tmp_path)
    assert rows[-1].validation_loss < rows[0].validation_loss < 5  # both images were brought near one
    record = read_record(tmp_path)
    assert record.dose_ratio == pytest.approx(DOSE_RATIO, rel=0.02)
    assert record.data == {"prepared": read_prepared(prepared).sha256}


def test_a_resumed_run_on_pairs_is_an_undisturbed_one(
    tiny_recipe: Recipe, prepared: Path, tmp_path: Path
) -> None:
    recipe = recipe_on(prepared, tiny_recipe, network={"dropout": 0.2})
    fit(recipe, tmp_path / "undisturbed")
    for stop in (1, 2, 9, 15, None):
        fit(recipe, tmp_path / "stopped", stop_after=stop)
    states = [torch.load(tmp_path / run / "last.pt", weights_only=True) for run in ("undisturbed", "stopped")]
    assert all(
        torch.equal(states[0]["network"][name], states[1]["network"][name]) for name in states[0]["network"]
    )


def test_split_photons_need_no_clean_images(tiny_recipe: Recipe, prepared: Path, tmp_path: Path) -> None:
    fit(recipe_on(prepared, tiny_recipe).with_split_photons(), tmp_path)
    rows = read_history(tmp_path)
    assert rows[-1].validation_loss < rows[0].validation_loss
    assert read_record(tmp_path).dose_ratio == 1.0


def test_changed_data_are_refused(tiny_recipe: Recipe, prepared: Path, tmp_path: Path) -> None:
    recipe = recipe_on(prepared, tiny_recipe)
    fit(recipe, tmp_path, stop_after=2)
    index = prepared / "prepared.json"
    before = index.read_text()
    try:
        index.write_text(before.replace('"role": "validation"', '"role": "training"', 1))
        with pytest.raises(CheckpointMismatch, match=r"the data of .* have changed"):
            fit(recipe, tmp_path)
    finally:
        index.write_text(before)
    with pytest.raises(InvalidPrepared, match="expected a folder that"):
        fit(recipe_on(tmp_path / "nowhere", tiny_recipe), tmp_path / "other")


def test_data_may_move(tiny_recipe: Recipe, prepared: Path, tmp_path: Path) -> None:
    fit(recipe_on(prepared, tiny_recipe), tmp_path / "run", stop_after=2)
    (tmp_path / "moved").symlink_to(prepared)
    fit(recipe_on(tmp_path / "moved", tiny_recipe), tmp_path / "run", stop_after=4)
    assert read_history(tmp_path / "run")[-1].step == 4


def test_init_takes_the_scale_from_the_prepared_images(prepared: Path, tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "r.yaml"), "--prepared", str(prepared)]) == 0
    counts = np.stack([read_prepared(prepared).open(f)[0] for f in read_prepared(prepared).of("training")])
    scale = read_recipe(tmp_path / "r.yaml").normalisation.value
    assert scale == pytest.approx(np.quantile(counts, 0.99), rel=0.1)
