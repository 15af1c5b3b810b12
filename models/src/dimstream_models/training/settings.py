"""Everything that a training run can be told, validated, in one frozen file.

A recipe names the simulated data, the network, the fit and the calibration; a run writes it back whole.
Unknown keys are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from dimstream_models.bundle.schema import Confined
from dimstream_models.training.errors import InvalidRecipe

Share = Annotated[float, Field(ge=0, le=1)]
PositiveRange = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class SimulationSettings(Confined):
    """Fields of view to train on, and how the detector sees them."""

    fields: int = Field(1500, ge=1, description="independent scenes")
    validation_fields: int = Field(48, ge=1, description="scenes that training never sees")
    side_px: int = Field(256, ge=64, description="side of each scene, px")
    dense_share: Share = Field(0.33, description="cell bodies among the scenes")
    sparse_share: Share = Field(0.12, description="sparse filaments and puncta among the scenes")
    empty_share: Share = Field(0.06, description="patches without any structure")
    dose: PositiveRange = Field((0.25, 12.0), description="photons on a tubule's pixel, log-uniform")
    dark_counts: PositiveRange = Field((0.001, 0.05), description="counts/px without light, log-uniform")
    background: PositiveRange = Field((0.01, 0.5), description="photons/px of uniform light, log-uniform")
    background_share: Share = Field(0.4, description="patches with uniform background light")
    speck_share: Share = Field(0.0, description="patches with one speck that outshines everything")
    speck: PositiveRange = Field(
        (20.0, 400.0), description="photons on a speck's brightest pixel, log-uniform"
    )
    dose_ratio: float = Field(70.0, gt=0, description="high dose over low dose (the paper: about 70)")
    frame_interval_s: float = Field(4.6, gt=0, description="of simulated movies, s")


class NetworkSettings(Confined):
    """Size of the UNet-RCAN and its initialisation."""

    filters: tuple[Annotated[int, Field(ge=1)], ...] = (8, 16, 32)
    filters_cab: int = Field(4, ge=1)
    num_rg: int = Field(2, ge=1)
    num_cab: int = Field(4, ge=1)
    kernel: Literal[1, 3, 5, 7] = 3
    activation: Literal["identity", "leaky_relu", "tanh"] = "leaky_relu"
    initializer: Literal["glorot_uniform", "lecun_uniform", "orthogonal"] = "glorot_uniform"
    dropout: Share = 0.0
    input_scale_photons: float = Field(4.0, gt=0, description="counts are divided by this, in the graph")


class FitSettings(Confined):
    """The optimisation."""

    steps: int = Field(12_000, ge=1)
    batch: int = Field(4, ge=1)
    patch_px: int = Field(128, ge=16, multiple_of=8)
    learning_rate: float = Field(2e-3, gt=0, description="peak, after warm-up; falls to 0 on a cosine")
    warmup_steps: int = Field(200, ge=1)
    edge_weight: float = Field(0.05, ge=0, description="of the loss on the 4-neighbour Laplacian")
    clip_norm: float | None = Field(1.0, gt=0, description="gradients longer than this are shortened to it")
    clip_value: float | None = Field(
        None, gt=0, description="bound of each gradient value (paper: 0.1 to 0.001)"
    )
    loss_limit: float = Field(1000.0, gt=0, description="a run whose loss exceeds this has failed (paper)")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="bfloat16 on a GPU only")
    validate_every: int = Field(500, ge=1, description="steps between validations and checkpoints")


class FineTuningSettings(Confined):
    """A second, short fit that starts from the best network of the first."""

    steps: int = Field(2_000, ge=1)
    learning_rate: float = Field(4e-4, gt=0)
    speck_share: Share = Field(0.3, description="teaches that a bright speck says nothing of the rest")


class CalibrationSettings(Confined):
    """Where the flag's threshold comes from: simulated signal and dark movies."""

    movies: int = Field(12, ge=1, description="of each, signal and dark")
    frames: int = Field(16, ge=3, description="per movie")
    side_px: int = Field(256, ge=64)
    dose: PositiveRange = Field((0.3, 10.0), description="photons on a tubule's pixel, log-uniform")
    dark_counts: PositiveRange = Field((0.003, 0.5), description="counts/px of dark movies, log-uniform")
    false_alarm_rate: float = Field(0.005, gt=0, lt=1, description="of signal frames")
    ssim_data_range: float = Field(16.0, gt=0, description="in mean absolute deviations of the prediction")


class BundleSettings(Confined):
    """What the bundle says of itself."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    name: str
    description: str
    authors: tuple[str, ...] = ("the dimstream developers",)
    license: str = "BSD-3-Clause"
    background_max: float = Field(5, ge=0, description="10x10 window sums up to this are background (paper)")
    signal_min: float = Field(25, ge=0, description="10x10 window sums above this are signal (paper)")


class Recipe(Confined):
    """A whole run: data, network, fit, calibration, bundle."""

    seed: int = Field(0, ge=0)
    simulation: SimulationSettings = SimulationSettings()
    network: NetworkSettings = NetworkSettings()
    fit: FitSettings = FitSettings()
    fine_tuning: FineTuningSettings | None = None
    calibration: CalibrationSettings = CalibrationSettings()
    bundle: BundleSettings

    def for_fine_tuning(self) -> Recipe:
        """Return the recipe of the second fit: other steps, other noise, the same scenes."""
        if self.fine_tuning is None:
            raise InvalidRecipe("expected a recipe with fine_tuning, got one without")
        again = self.fine_tuning
        fit = {"steps": again.steps, "learning_rate": again.learning_rate}
        return self.model_copy(
            update={
                "fit": self.fit.model_copy(update=fit),
                "simulation": self.simulation.model_copy(update={"speck_share": again.speck_share}),
                "fine_tuning": None,
            }
        )


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a YAML file.

    Raises
    ------
    InvalidRecipe
        When the file is missing, is no YAML mapping, or holds an unknown key or a value out of range.
    """
    try:
        content = yaml.safe_load(path.read_text())
        return Recipe.model_validate(content)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise InvalidRecipe(f"expected a recipe at {path}, got: {error}") from error


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write every setting, defaults included, as YAML."""
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
