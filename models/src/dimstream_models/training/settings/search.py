"""The hyperparameter search: which settings are varied, and how each trial is judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from dimstream_models.bundle.schema import Confined
from dimstream_models.training.settings.network import Activation, Initializer

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
PatchSide = Annotated[int, Field(ge=16, multiple_of=8)]


class SearchSpace(Confined):
    """The possible values of each setting: the paper's Methods, "Network training"."""

    activation: tuple[Activation, ...] = Field(
        ("leaky_relu", "tanh"), min_length=1, description="values of network.activation"
    )
    initializer: tuple[Initializer, ...] = Field(
        ("glorot_uniform", "lecun_uniform", "orthogonal"),
        min_length=1,
        description="values of network.initializer",
    )
    clip_value: tuple[Positive | None, ...] = Field(
        (0.1, 0.01, 0.001), min_length=1, description="values of fit.clip_value"
    )
    l2_weight: tuple[NotNegative, ...] = Field(
        (0.0, 0.01, 0.001), min_length=1, description="values of fit.loss.l2_weight"
    )
    learning_rate: tuple[Positive, ...] = Field(
        (1e-3, 5e-4, 1e-4, 5e-5, 1e-5, 1e-6), min_length=1, description="values of fit.learning_rate"
    )
    patch_px: tuple[PatchSide, ...] = Field(
        (128, 200, 256, 304), min_length=1, description="values of fit.patch_px, px"
    )

    @field_validator("*")
    @classmethod
    def _each_value_once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) < len(values):
            raise ValueError(f"expected each value once, got {list(values)}")
        return values


class SearchSettings(Confined):
    """The paper's protocol: many short runs, a total score, and the best are trained to convergence."""

    space: SearchSpace = SearchSpace()
    sampler: Literal["random", "grid", "tpe"] = Field(
        "random",
        description="how settings are chosen: at random, one after another, or from earlier good scores",
    )
    trials: int = Field(147, ge=1, description="number of trials (the paper: 147 and 393)")
    epochs: int = Field(10, ge=1, description="epochs of each trial (paper)")
    instances: int | None = Field(1000, ge=1, description="training patches of each trial (paper)")
    best: int = Field(5, ge=0, description="number of trials retrained to convergence on all data (paper)")
