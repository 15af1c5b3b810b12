"""Rescaling to counts, the threshold of the flag, and the bundle's own description."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import Field, field_validator

from dimstream_models.bundle.schema import Confined
from dimstream_models.training.settings.data import PositiveRange


class CalibrationSettings(Confined):
    """How scale and offset are fitted, and how the flag's threshold is determined."""

    rescaling: Literal["least_squares", "clipped_quantiles"] = Field(
        "least_squares",
        description="fit on training pairs: with all values, or clipped to the 1st and 99th quantile (paper)",
    )
    false_alarm_rate: float = Field(0.005, gt=0, lt=1, description="share of signal frames")
    ssim_data_range: float = Field(16.0, gt=0, description="in mean absolute deviations of the prediction")
    movies: int = Field(24, ge=1, description="number of simulated movies of each kind, signal and dark")
    frames: int = Field(16, ge=3, description="frames of each simulated movie")
    side_px: int = Field(256, ge=64, description="side of simulated movies, px")
    dose: PositiveRange = Field((0.3, 10.0), description="photons per pixel on a tubule, log-uniform")
    dark_counts: PositiveRange = Field((0.003, 2.0), description="counts/px of dark movies, log-uniform")


ID: Final = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
NAME: Final = r"^[A-Za-z0-9_+\- ()]{5,128}$"

NOT_STATED: Final = "not stated"
PLACEHOLDER_NAME: Final = "my model"
PLACEHOLDER_ID: Final = "my-model"
PLACEHOLDER_DESCRIPTION: Final = "One sentence on what it restores and what it was trained on."
"""Placeholders in a new recipe; an export warns of each that remains."""


class BundleSettings(Confined):
    """The bundle's own description."""

    id: str = Field(pattern=ID, description="the model's name in messages and URLs")
    name: str = Field(
        pattern=NAME,
        description="name for people: 5 to 128 letters, digits, spaces, _ + - ( )",
    )
    description: str = Field(description="one sentence")
    authors: tuple[str, ...] = Field((NOT_STATED,), min_length=1, description="names of the model's authors")
    license: str | None = Field(
        None, description="SPDX identifier for the weights, such as CC-BY-4.0; null: not stated"
    )
    pixel_size_nm: float | None = Field(
        None, gt=0, description="pixel size of the training images; null: as they state it"
    )
    pixel_sizes_nm: PositiveRange | None = Field(
        None,
        description=(
            "smallest and largest pixels of the structures in training; streams with other pixels get a "
            "note; null: not stated"
        ),
    )
    background_max: float = Field(5, ge=0, description="10x10 window sums up to this are background (paper)")
    signal_min: float = Field(25, ge=0, description="10x10 window sums above this are signal (paper)")

    @field_validator("name", mode="before")
    @classmethod
    def _name_in_words(cls, name: object) -> object:
        """Explain what is wrong with a name, before a pattern refuses it."""
        if not isinstance(name, str) or re.fullmatch(NAME, name):
            return name
        if not 5 <= len(name) <= 128:
            raise ValueError(
                f"expected 5 to 128 characters (a rule of BioImage.IO), got {len(name)}: say what it "
                "restores, such as 'ER in COS-7 cells'"
            )
        wrong = "".join(dict.fromkeys(re.sub(r"[A-Za-z0-9_+\- ()]", "", name)))
        raise ValueError(
            f"expected letters, digits, spaces, _ + - ( ) (a rule of BioImage.IO), got {wrong!r}: leave "
            "these out"
        )

    @field_validator("id", mode="before")
    @classmethod
    def _id_in_words(cls, name: object) -> object:
        """Explain what is wrong with an id, before a pattern refuses it."""
        if not isinstance(name, str) or re.fullmatch(ID, name):
            return name
        raise ValueError(
            "expected lower-case letters and digits with dashes between them, such as er-sted, because the "
            "id is part of URLs"
        )
