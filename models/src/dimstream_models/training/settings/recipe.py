"""All settings of a training run, validated, in one frozen file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from dimstream_models.bundle import InvalidBundle
from dimstream_models.bundle.schema import Confined
from dimstream_models.bundle.yaml_text import MAX_YAML_BYTES, parse
from dimstream_models.training.errors import InvalidRecipe
from dimstream_models.training.settings.calibration import BundleSettings, CalibrationSettings
from dimstream_models.training.settings.complaints import complaints
from dimstream_models.training.settings.data import (
    MoviesSettings,
    NormalisationSettings,
    PairsSettings,
    SimulationSettings,
)
from dimstream_models.training.settings.fit import FineTuningSettings, FitSettings
from dimstream_models.training.settings.network import NetworkSettings
from dimstream_models.training.settings.search import SearchSettings


class Recipe(Confined):
    """A whole run: data, normalisation, network, fit, search, calibration, bundle."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of everything random: weights, order, noise")
    simulation: SimulationSettings | None = None
    pairs: PairsSettings | None = None
    movies: MoviesSettings | None = None
    normalisation: NormalisationSettings = NormalisationSettings()
    network: NetworkSettings = NetworkSettings()
    fit: FitSettings = FitSettings()
    fine_tuning: FineTuningSettings | None = None
    search: SearchSettings = SearchSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    bundle: BundleSettings

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if sum(part is not None for part in (self.simulation, self.pairs, self.movies)) != 1:
            raise ValueError("expected exactly one of simulation, pairs and movies as training data")
        if self.fine_tuning is not None and self.simulation is None:
            raise ValueError("expected simulation with fine_tuning, which adds simulated specks")
        step = 2 ** len(self.network.filters)
        if self.fit.patch_px % step:
            raise ValueError(
                f"patch_px must be divisible by {step}, because network.filters has "
                f"{len(self.network.filters)} levels; got {self.fit.patch_px}"
            )
        splits = self.movies is not None or (self.pairs is not None and self.pairs.split_photons)
        if splits and self.normalisation.kind != "fixed":
            raise ValueError(
                "splitting photons needs normalisation kind fixed, because the parts must have the same scale"
            )
        return self

    def with_split_photons(self) -> Recipe:
        """Return the recipe without clean images: each part of a frame's photons is the truth of the other.

        Raises
        ------
        InvalidRecipe
            When it is not a recipe for pairs, or its normalisation does not fit.
        """
        if self.pairs is None:
            raise InvalidRecipe(
                "splitting photons needs pairs as training data, got a recipe with simulation"
            )
        settings = self.model_dump()
        settings["pairs"]["split_photons"] = True
        try:
            return Recipe.model_validate(settings)
        except ValidationError as error:
            raise InvalidRecipe(
                f"the recipe cannot be used with split photons: {complaints(error)}"
            ) from error

    def for_fine_tuning(self) -> Recipe:
        """Return the recipe of the second fit: other epochs and noise, the same scenes."""
        if self.fine_tuning is None or self.simulation is None:
            raise InvalidRecipe("expected a recipe with fine_tuning, got one without")
        again = self.fine_tuning
        fit = {"epochs": again.epochs, "learning_rate": again.learning_rate}
        return self.model_copy(
            update={
                "fit": self.fit.model_copy(update=fit),
                "simulation": self.simulation.model_copy(update={"speck_share": again.speck_share}),
                "fine_tuning": None,
            }
        )


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a YAML file; relative paths in it are relative to the file.

    Raises
    ------
    InvalidRecipe
        When the file is missing, is not a YAML mapping, or has an unknown key, a key twice, or a value out of
        range.
    """
    try:
        recipe = Recipe.model_validate(_read_mapping(path))
        if recipe.pairs is None:
            return recipe
        prepared = (path.parent / recipe.pairs.prepared).resolve()
    except ValidationError as error:
        raise InvalidRecipe(f"expected a recipe at {path}, got: {complaints(error)}") from error
    except (OSError, ValueError, InvalidBundle) as error:
        raise InvalidRecipe(f"expected a recipe at {path}, got: {error}") from error
    return recipe.model_copy(update={"pairs": recipe.pairs.model_copy(update={"prepared": prepared})})


def _read_mapping(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(MAX_YAML_BYTES + 1)
    if len(data) > MAX_YAML_BYTES:
        raise ValueError(f"more than {MAX_YAML_BYTES} bytes")
    return parse(data, name=path.name)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write every setting, defaults included, as YAML."""
    partial = path.with_name(f"{path.name}.partial")  # a crash leaves the old file or the new one
    partial.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    partial.replace(path)
