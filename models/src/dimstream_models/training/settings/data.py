"""What a network is trained on: simulated scenes, real pairs from `dimstream-train prepare`, or movies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dimstream_models.bundle.schema import Confined

Share = Annotated[float, Field(ge=0, le=1)]
PositiveRange = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class SimulationSettings(Confined):
    """Fields of view to train on, and how the detector sees them."""

    fields: int = Field(1500, ge=1, description="independent scenes")
    validation_fields: int = Field(48, ge=1, description="scenes that training never sees")
    steps_per_epoch: int = Field(500, ge=1, description="samples never repeat: an epoch is this many steps")
    side_px: int = Field(256, ge=64, description="side of each scene, px")
    dense_share: Share = Field(0.33, description="cell bodies among the scenes")
    sparse_share: Share = Field(0.12, description="sparse filaments and puncta among the scenes")
    other_share: Share = Field(
        0.0,
        description="scenes of anything but the ER: filaments with gaps, puncta, vesicles, mitochondria,"
        " actin, nuclei, mixtures; pixels of 15 to 60 nm, many point spread functions",
    )
    smaller_share: Share = Field(
        0.0, description="among the others: the ER at half or three quarters of its size"
    )
    empty_share: Share = Field(0.06, description="patches without any structure")
    dose: PositiveRange = Field((0.25, 12.0), description="photons on a tubule's pixel, log-uniform")
    dark_counts: PositiveRange = Field((0.001, 0.05), description="counts/px without light, log-uniform")
    background: PositiveRange = Field((0.01, 0.5), description="photons/px of uniform light, log-uniform")
    background_share: Share = Field(0.4, description="patches with uniform background light")
    background_unevenness: float = Field(
        0.0,
        ge=0,
        le=2,
        description="of that light across a patch: standard deviation of its logarithm; 0: even",
    )
    flicker_share: Share = Field(
        0.0,
        description="patches in which the light differs from pixel to pixel, as that of structures that blink"
        " or move while they are scanned; it is part of the truth",
    )
    flicker: float = Field(
        0.5, ge=0, le=2, description="largest standard deviation of the logarithm of that light's factors"
    )
    speck_share: Share = Field(0.0, description="patches with one speck that outshines everything")
    speck: PositiveRange = Field(
        (20.0, 400.0), description="photons on a speck's brightest pixel, log-uniform"
    )
    dose_ratio: float = Field(70.0, gt=0, description="high dose over low dose (the paper: about 70)")
    frame_interval_s: float = Field(4.6, gt=0, description="of simulated movies, s")


class PairsSettings(Confined):
    """Patches of prepared fields of view."""

    prepared: Path = Field(description="folder that `dimstream-train prepare` wrote")
    split_photons: bool = Field(
        False, description="no clean images: one part of each frame's photons is the truth of the other part"
    )
    kept_share: float = Field(
        0.5, gt=0, lt=1, description="share of the photons that the network is shown when they are split"
    )
    stride_px: int | None = Field(
        None, ge=1, description="distance between patches of the grid, px; null: a patch's side, no overlap"
    )
    empty_threshold: Share = Field(
        0.0, description="patches whose truth's norm is below this share of the largest are left out"
    )
    augmentation: Literal["none", "flips", "flips_and_turns"] = Field(
        "flips_and_turns", description="flips, or flips and quarter turns, drawn again for each epoch"
    )
    max_patches: int | None = Field(
        None, ge=1, description="a seeded choice of this many patches (the paper screens with 1000 of 1764)"
    )


class MoviesSettings(Confined):
    """The user's own movies of photon counts, without clean images, as `adapt` stores them."""

    stored: Path = Field(description="folder of the stored movies")
    steps_per_epoch: int = Field(50, ge=1, description="patches are drawn anew: an epoch is this many steps")
    neighbour_share: Share = Field(
        0.5,
        description="patches whose target is the mean of the neighbouring frames, at most: fewer, the more"
        " the sample moves between frames; of the others it is split photons",
    )
    kept_share: tuple[Annotated[float, Field(gt=0, lt=1)], Annotated[float, Field(gt=0, lt=1)]] = Field(
        (0.5, 0.9), description="share of the photons that the network is shown when they are split, drawn"
    )
    moved_errors: float = Field(
        5.0,
        gt=0,
        description="pixels that differ from the neighbouring frame by more standard errors of photon noise"
        " moved, and do not count",
    )
    gain: float | None = Field(
        None, gt=0, description="of the bundle that it begins with, from predictions to counts; null: none"
    )


class NormalisationSettings(Confined):
    """How counts become numbers near one, inside the graph, and truths next to them in training."""

    kind: Literal["fixed", "maximum", "quantile"] = Field(
        "fixed", description="divide by a constant, by the image's maximum (the paper), or by its quantile"
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
            raise ValueError(f"a quantile lies between 0 and 1, got {self.value}")
        if self.target_value is not None and self.kind != "fixed":
            raise ValueError("target_value belongs to kind fixed; the others take the truth's own statistic")
        return self
