"""Settings of the optimisation, and of a second, shorter one."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from dimstream_models.bundle.schema import Confined
from dimstream_models.training.settings.data import Share

LARGEST: Final = "largest"
Precision = Literal["float32", "bfloat16", "float16"]


class LossSettings(Confined):
    """The loss, which is summed over the coarse and the fine output."""

    kind: Literal["rms", "mse"] = Field(
        "rms", description="root mean square error of each patch, or mean square"
    )
    edge_weight: float = Field(
        0.05, ge=0, description="weight of the same error on the 4-neighbour Laplacian"
    )
    total_weight: float = Field(
        0.0,
        ge=0,
        description=(
            "weight of the same error of means over 16 x 16 px, which preserves total counts (photometry)"
        ),
    )
    valley_weight: float = Field(
        0.0,
        ge=0,
        description=(
            "added to a pixel's weight of 1 where the truth is dark but surrounded by bright pixels within "
            "11 px: gaps in filaments, spaces between dots; 0: all pixels have the same weight"
        ),
    )
    weighted_by: Literal["truth", "counts"] = Field(
        "truth",
        description=(
            "image whose mean determines each patch's photon noise. Weights by the truth, which a network "
            "cannot know, make faint light disappear; `counts` preserves total counts"
        ),
    )
    l2_weight: float = Field(
        0.0, ge=0, description="weight of half the sum of squared kernels (paper: 0 to 0.01)"
    )
    shot_noise_weighted: bool = Field(
        False,
        description=(
            "whether each patch's error is in units of its photon noise, so that faint and bright patches "
            "have the same weight"
        ),
    )


class FitSettings(Confined):
    """Settings of the optimisation."""

    epochs: int = Field(100, ge=1, description="most epochs (the paper: up to 100; 10 when screening)")
    batch: Annotated[int, Field(ge=1)] | Literal["largest"] = Field(
        8, description="patches per step; `largest`: as many as fit into memory (the paper: 36 to 6)"
    )
    batch_limit: int = Field(64, ge=1, description="upper bound of `largest`")
    patch_px: int = Field(128, ge=16, multiple_of=8, description="side of a patch, px (paper: 128 to 304)")
    learning_rate: float = Field(1e-3, gt=0, description="highest learning rate (paper: 1e-3 to 1e-6)")
    warmup_steps: int = Field(
        0, ge=0, description="steps in which the learning rate rises to its highest value"
    )
    schedule: Literal["plateau", "cosine", "constant"] = Field(
        "plateau",
        description="schedule of the learning rate: lowered when validation does not improve, or "
        "along a cosine to 0",
    )
    plateau_factor: float = Field(0.2, gt=0, lt=1, description="factor of the learning rate at each plateau")
    plateau_patience: int = Field(
        4, ge=1, description="epochs without better validation before the learning rate is lowered"
    )
    early_stopping_patience: int | None = Field(
        6, ge=1, description="epochs without better validation before the run ends; null: never"
    )
    loss: LossSettings = LossSettings()
    clip_value: float | None = Field(
        None, gt=0, description="bound of each gradient value (paper: 0.1, 0.01, 0.001); null: no bound"
    )
    clip_norm: float | None = Field(1.0, gt=0, description="bound of the gradient's norm; null: no bound")
    loss_limit: float = Field(1000.0, gt=0, description="a run whose loss exceeds this has failed (paper)")
    precision: Precision = Field(
        "float32", description="precision of the arithmetic; mixed precision only on a GPU"
    )
    checkpoint_every_s: float = Field(
        300.0,
        gt=0,
        description="time between checkpoints, also within an epoch: the most that a crash can lose",
    )

    @model_validator(mode="after")
    def _schedules_fit(self) -> Self:
        if self.schedule == "cosine" and self.early_stopping_patience is not None:
            raise ValueError("expected early_stopping_patience null with a cosine, which must run to its end")
        return self


class FineTuningSettings(Confined):
    """A second, short fit on simulated specks, which starts from the best network of the first."""

    epochs: int = Field(4, ge=1, description="at most")
    learning_rate: float = Field(4e-4, gt=0, description="highest learning rate")
    speck_share: Share = Field(
        0.3, description="share of patches with a bright speck, so that the network learns to ignore specks"
    )
