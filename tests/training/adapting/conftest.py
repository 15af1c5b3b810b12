"""A movie, and a bundle whose network learned little, so that a sample can teach it."""

from pathlib import Path

import pytest
from training.adapting.own_movies import light_of_points, photons_of, write_movie

from dimstream_models.bundle import Provenance
from dimstream_models.training.calibration.training_pairs import rescaling_of_split_photons
from dimstream_models.training.export.writing import NetworkDraft, write_network
from dimstream_models.training.fitting.trainer import load_best
from dimstream_models.training.settings import Recipe

GAIN = 280.0


@pytest.fixture(scope="session")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photon counts of 18 frames."""
    return write_movie(tmp_path_factory.mktemp("movies") / "cell 1.tif", photons_of(light_of_points(18)))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_recipe: Recipe, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run's network with what an adaptation needs to know of it."""
    draft = NetworkDraft(
        network=load_best(tiny_recipe, tiny_run),
        normalisation=tiny_recipe.normalisation,
        bundle=tiny_recipe.bundle,
        example=photons_of(light_of_points(1))[0],
        rescaling=rescaling_of_split_photons(4.0, gain=GAIN),
        provenance=Provenance(
            command="a test",
            seed=3,
            versions={},
            git_commit=None,
            settings=tiny_recipe.model_dump(mode="json"),
        ),
    )
    return write_network(tmp_path_factory.mktemp("bundles") / "tiny", draft).source
