"""The optimisation, and a second, shorter one."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from dimstream_models.bundle.schema import Confined
from dimstream_models.training.settings.data import Share

LARGEST: Final = "largest"
Precision = Literal["float32", "bfloat16", "float16"]


class LossSettings(Confined):
    """What is minimised: summed over the coarse and the fine output."""

    kind: Literal["rms", "mse"] = Field(
        "rms", description="root mean square error of each patch, or mean square"
    )
    edge_weight: float = Field(0.05, ge=0, description="of the same error on the 4-neighbour Laplacian")
    total_weight: float = Field(
        0.0, ge=0, description="of the same error of means over 16 x 16 px: keeps the totals (photometry)"
    )
    valley_weight: float = Field(
        0.0,
        ge=0,
        description="added to the weight 1 of a pixel's error where the truth is dark between what is bright"
        " within 11 px: gaps in filaments, the space between dots; 0: all pixels count alike",
    )
    weighted_by: Literal["truth", "counts"] = Field(
        "truth",
        description="whose mean says each patch's photon noise; weights by the truth, which a network cannot"
        " know, favour none over faint light: `counts` keeps totals",
    )
    l2_weight: float = Field(
        0.0, ge=0, description="times half the sum of squared kernels (paper: 0 to 0.01)"
    )
    shot_noise_weighted: bool = Field(
        False, description="each patch's error in units of its photon noise: faint and bright count alike"
    )


class FitSettings(Confined):
    """The optimisation."""

    epochs: int = Field(100, ge=1, description="at most (the paper: up to 100; 10 when screening)")
    batch: Annotated[int, Field(ge=1)] | Literal["largest"] = Field(
        8, description="patches in a step; `largest`: as many as the memory holds (the paper: 36 to 6)"
    )
    batch_limit: int = Field(64, ge=1, description="`largest` goes no further, however much the memory holds")
    patch_px: int = Field(128, ge=16, multiple_of=8, description="side of a patch, px (paper: 128 to 304)")
    learning_rate: float = Field(1e-3, gt=0, description="at its highest (paper: 1e-3 to 1e-6)")
    warmup_steps: int = Field(0, ge=0, description="steps in which the learning rate rises to its highest")
    schedule: Literal["plateau", "cosine", "constant"] = Field(
        "plateau", description="of the learning rate: lowered when validation stalls, or along a cosine to 0"
    )
    plateau_factor: float = Field(0.2, gt=0, lt=1, description="of the learning rate at each plateau")
    plateau_patience: int = Field(4, ge=1, description="epochs without a better validation before that")
    early_stopping_patience: int | None = Field(
        6, ge=1, description="epochs without a better validation before the run ends; null: never"
    )
    loss: LossSettings = LossSettings()
    clip_value: float | None = Field(
        None, gt=0, description="bound of each gradient value (paper: 0.1, 0.01, 0.001); null: none"
    )
    clip_norm: float | None = Field(
        1.0, gt=0, description="gradients longer than this are shortened to it; null: none"
    )
    loss_limit: float = Field(1000.0, gt=0, description="a run whose loss exceeds this has failed (paper)")
    precision: Precision = Field("float32", description="of the arithmetic; mixed precision on a GPU only")
    checkpoint_every_s: float = Field(
        300.0, gt=0, description="also within an epoch, so that a kill costs no more than this"
    )

    @model_validator(mode="after")
    def _schedules_fit(self) -> Self:
        if self.schedule == "cosine" and self.early_stopping_patience is not None:
            raise ValueError("a cosine runs to its end: expected early_stopping_patience null with it")
        return self


class FineTuningSettings(Confined):
    """A second, short fit that starts from the best network of the first, on simulated specks."""

    epochs: int = Field(4, ge=1, description="at most")
    learning_rate: float = Field(4e-4, gt=0, description="at its highest")
    speck_share: Share = Field(0.3, description="teaches that a bright speck says nothing of the rest")
