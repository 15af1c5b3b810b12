"""A few small pairs on disk, and the bundle that ships evaluated on them."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from shipped import BUNDLE

from dimstream_models.bundle import read_bundle
from dimstream_models.training.evaluation.evaluate import Evaluation, evaluate
from dimstream_models.training.evaluation.scoring import ScoringSettings
from dimstream_models.training.simulation.er_scenes import Scene, expose

SCENES = (4, 11, 12, 18, 27)  # full enough to tell that 96 x 96 px hold photon counts
SIDE = 96
SKIP = 8


def write_pairs(folder: Path, *, seed: int) -> Path:
    """Write five simulated fields, always the same ones, at low and high dose with a seed's noise."""
    rng = np.random.default_rng(seed)
    structures = [
        Scene.random(np.random.default_rng([7, scene]), (SIDE, SIDE)).structure() for scene in SCENES
    ]
    for name, dose in (("low", 5.0), ("high", 350.0)):
        (folder / name).mkdir(parents=True)
        for field, structure in enumerate(structures):
            counts = expose(structure, dose=dose, dark_counts=0.01, rng=rng)
            tifffile.imwrite(folder / name / f"field{field}.tif", counts, photometric="minisblack")
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "day1", seed=1)


@pytest.fixture(scope="session")
def pairs_again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same fields, recorded a second time."""
    return write_pairs(tmp_path_factory.mktemp("again") / "day1", seed=2)


def list_one(folder: Path) -> Path:
    """Write a CSV list of the third field alone."""
    path = folder.parent / "one.csv"
    path.write_text("low,high,day\nday1/low/field3.tif,day1/high/field3.tif,day1\n")
    return path


@pytest.fixture(scope="session")
def one(pairs: Path) -> Path:
    return list_one(pairs)


@pytest.fixture(scope="session")
def one_again(pairs_again: Path) -> Path:
    return list_one(pairs_again)


@pytest.fixture(scope="session")
def evaluation(pairs: Path) -> Evaluation:
    settings = ScoringSettings(skip=SKIP, pixel_size_nm=20.0)
    return evaluate(read_bundle(BUNDLE), pairs, settings=settings)
