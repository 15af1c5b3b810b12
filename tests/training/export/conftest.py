"""Runs of the tiny recipe, on scenes and on pairs, as bundles."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from dimstream_models.bundle import Bundle
from dimstream_models.training.cli import main
from dimstream_models.training.export.bundling import ExportOptions, export_run
from dimstream_models.training.fitting.trainer import fit
from dimstream_models.training.pairs.prepare_folder import prepare
from dimstream_models.training.pairs.prepared import PrepareSettings
from dimstream_models.training.settings import Recipe, write_recipe

DOSE_RATIO = 20.0
DOCUMENTATION = (
    "# Tiny\n\n## Validation\n\nMargin {pairs_margin_db} dB, threshold {ssim_threshold}, {other}.\n"
)


@pytest.fixture(scope="session")
def bright_recipe(tiny_recipe: Recipe) -> Recipe:
    """With movies so bright that even the tiny network tells signal from dark."""
    update = {"dose": (80.0, 90.0), "dark_counts": (0.3, 0.5), "ssim_data_range": 8.0}
    return tiny_recipe.model_copy(update={"calibration": tiny_recipe.calibration.model_copy(update=update)})


@pytest.fixture(scope="session")
def bundle(bright_recipe: Recipe, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny run, with a README of its own."""
    run = tmp_path_factory.mktemp("bright") / "tiny"
    shutil.copytree(tiny_run, run)
    write_recipe(bright_recipe, run / "recipe.yaml")
    return export_run(
        run,
        tmp_path_factory.mktemp("bundles") / "tiny",
        command="dimstream-train export tiny",
        options=ExportOptions(quality={"pairs_margin_db": 1.25}, documentation=DOCUMENTATION),
    )


def blurred_points(rng: np.random.Generator) -> np.ndarray:
    """Light of a field of view, (72, 80), 2 photons per pixel on average."""
    light = ndimage.gaussian_filter((rng.random((72, 80)) < 0.02).astype(float), 2.0)
    return np.asarray(light * (2 / light.mean()))


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measurement day: stacks of eight fields at a low and a high dose, a signal and a dark movie."""
    folder, rng = tmp_path_factory.mktemp("day"), np.random.default_rng(0)
    fields = np.stack([blurred_points(rng) for _ in range(8)])
    pixel = {"axes": "TYX", "PhysicalSizeX": 0.025, "PhysicalSizeY": 0.025}
    for name, light in {
        "low": fields,
        "high": DOSE_RATIO * fields,
        "signal": np.repeat(fields[:1], 8, axis=0),
        "dark": np.full((8, 72, 80), 0.1),
    }.items():
        counts = rng.poisson(light).astype(np.uint16)
        tifffile.imwrite(folder / f"{name}.ome.tif", counts, metadata=pixel, photometric="minisblack")
    return folder


@pytest.fixture(scope="session")
def prepared(day: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The day's pairs, prepared."""
    pairs = tmp_path_factory.mktemp("pairs")
    for dose in ("low", "high"):
        (pairs / f"{dose}.tif").symlink_to(day / f"{dose}.ome.tif")
    settings = PrepareSettings(
        registered=False, fields_of_view="planes", validation_share=0.25, test_share=0.15
    )
    return prepare([pairs], tmp_path_factory.mktemp("prepared") / "resting", settings).folder


@pytest.fixture(scope="session")
def pairs_recipe(tiny_recipe: Recipe, prepared: Path) -> Recipe:
    settings = tiny_recipe.model_dump() | {"simulation": None, "fine_tuning": None}
    settings["pairs"] = {"prepared": prepared}
    settings["fit"] |= {"epochs": 8, "batch": 2, "learning_rate": 0.01}
    settings["bundle"] |= {"id": "resting", "name": "Resting ER"}
    return Recipe.model_validate(settings)


@pytest.fixture(scope="session")
def pairs_run(pairs_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("pairs-run")
    fit(pairs_recipe, run)
    return run


@pytest.fixture(scope="session")
def _exports(pairs_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    assert main(["export", str(pairs_run), "--out", str(folder / "resting"), "--float16"]) == 0
    return folder


@pytest.fixture
def exports(_exports: Path, tmp_path: Path) -> Path:
    """`resting` and `resting-float16`: the run on pairs, exported without movies; they may be spoiled."""
    return Path(shutil.copytree(_exports, tmp_path / "exports"))
