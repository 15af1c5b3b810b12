"""The training data: simulated scenes, recorded pairs from `dimstream-train prepare`, or movies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dimstream_models.bundle.schema import Confined

Share = Annotated[float, Field(ge=0, le=1)]
PositiveRange = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class SimulationSettings(Confined):
    """Simulated fields of view for training, and the simulated detector."""

    fields: int = Field(1500, ge=1, description="independent scenes")
    validation_fields: int = Field(48, ge=1, description="scenes that are not used for training")
    steps_per_epoch: int = Field(500, ge=1, description="steps per epoch; samples never repeat")
    side_px: int = Field(256, ge=64, description="side of each scene, px")
    dense_share: Share = Field(0.33, description="share of scenes with cell bodies")
    sparse_share: Share = Field(0.12, description="share of scenes with sparse filaments and puncta")
    other_share: Share = Field(
        0.0,
        description=(
            "share of scenes of other structures than the ER: filaments with gaps, puncta, vesicles, "
            "mitochondria, actin, nuclei, mixtures; pixels of 15 to 60 nm, many point spread functions"
        ),
    )
    smaller_share: Share = Field(
        0.0, description="share of the other scenes with the ER at half or three quarters of its size"
    )
    empty_share: Share = Field(0.06, description="share of patches without any structure")
    dose: PositiveRange = Field((0.25, 12.0), description="photons per pixel on a tubule, log-uniform")
    dark_counts: PositiveRange = Field((0.001, 0.05), description="counts/px without light, log-uniform")
    background: PositiveRange = Field((0.01, 0.5), description="photons/px of uniform light, log-uniform")
    background_share: Share = Field(0.4, description="share of patches with uniform background light")
    background_unevenness: float = Field(
        0.0,
        ge=0,
        le=2,
        description="variation of that light across a patch: standard deviation of its logarithm; 0: uniform",
    )
    flicker_share: Share = Field(
        0.0,
        description="patches in which the light differs from pixel to pixel, as that of structures that blink"
        " or move while they are scanned; it is part of the truth",
    )
    flicker: float = Field(
        0.5, ge=0, le=2, description="largest standard deviation of the logarithm of that light's factors"
    )
    speck_share: Share = Field(0.0, description="share of patches with one very bright speck")
    speck: PositiveRange = Field(
        (20.0, 400.0), description="photons on a speck's brightest pixel, log-uniform"
    )
    dose_ratio: float = Field(70.0, gt=0, description="ratio of high to low dose (the paper: about 70)")
    frame_interval_s: float = Field(4.6, gt=0, description="frame interval of simulated movies, s")


class PairsSettings(Confined):
    """Patches of prepared fields of view."""

    prepared: Path = Field(description="folder that `dimstream-train prepare` wrote")
    split_photons: bool = Field(
        False,
        description=(
            "train without clean images: one part of each frame's photons is the truth of the other part"
        ),
    )
    kept_share: float = Field(
        0.5, gt=0, lt=1, description="share of the photons in the network's input when they are split"
    )
    stride_px: int | None = Field(
        None, ge=1, description="distance between patches of the grid, px; null: a patch's side, no overlap"
    )
    empty_threshold: Share = Field(
        0.0, description="patches whose truth's norm is below this share of the largest are left out"
    )
    augmentation: Literal["none", "flips", "flips_and_turns"] = Field(
        "flips_and_turns", description="flips, or flips and quarter turns, drawn anew in each epoch"
    )
    max_patches: int | None = Field(
        None, ge=1, description="number of patches, chosen at random (the paper screens with 1000 of 1764)"
    )


class MoviesSettings(Confined):
    """The user's own movies of photon counts, without clean images, as stored by `adapt`."""

    stored: Path = Field(description="folder of the stored movies")
    steps_per_epoch: int = Field(50, ge=1, description="steps per epoch; patches are drawn at random")
    neighbour_share: Share = Field(
        0.5,
        description=(
            "largest share of patches whose target is the mean of the neighbouring frames; it is less when "
            "the sample moves between frames. The target of other patches is split photons"
        ),
    )
    kept_share: tuple[Annotated[float, Field(gt=0, lt=1)], Annotated[float, Field(gt=0, lt=1)]] = Field(
        (0.5, 0.9), description="range of the share of photons in the network's input when they are split"
    )
    moved_errors: float = Field(
        5.0,
        gt=0,
        description=(
            "pixels that differ from the neighbouring frame by more than this many standard errors of "
            "photon noise have moved, and are ignored"
        ),
    )
    gain: float | None = Field(
        None, gt=0, description="steps of the initial bundle from predictions to counts; null: none"
    )


class NormalisationSettings(Confined):
    """How counts are normalised to about one inside the graph, and truths in training."""

    kind: Literal["fixed", "maximum", "quantile"] = Field(
        "fixed", description="divisor: a constant, the image's maximum (the paper), or its quantile"
    )
    value: float | None = Field(
        4.0, gt=0, description="the divisor (fixed), the quantile (quantile); null for maximum"
    )
    target_value: float | None = Field(
        None,
        gt=0,
        description="the truth's divisor (fixed); null: `value` times the training pairs' dose ratio",
    )

    @model_validator(mode="after")
    def _value_belongs_to_kind(self) -> Self:
        if (self.value is None) != (self.kind == "maximum"):
            raise ValueError("value is the divisor (fixed) or the quantile (quantile); maximum has none")
        if self.kind == "quantile" and self.value is not None and self.value >= 1:
            raise ValueError(f"expected a quantile between 0 and 1, got {self.value}")
        if self.target_value is not None and self.kind != "fixed":
            raise ValueError(
                "target_value is for kind fixed only; the other kinds use the truth's own statistic"
            )
        return self
