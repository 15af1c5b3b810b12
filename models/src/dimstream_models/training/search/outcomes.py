"""The outcome of one run: its figures, or why it failed."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from dimstream_models.bundle.schema import Confined
from dimstream_models.training.errors import SearchError
from dimstream_models.whole_files import write_whole


class Figures(Confined):
    """How well one run restores the validation fields."""

    ssim: float
    """Mean over the fields; higher is better."""
    mae: float
    """Mean absolute error in counts of the truth, mean over the fields; lower is better."""
    resolution_px: float | None
    """Decorrelation resolution, median over the fields, px; lower is better; None: most fields have none."""


class Outcome(Confined):
    """A finished run."""

    figures: Figures | None
    reason: str | None
    """Why there are no figures."""
    seconds: float = Field(ge=0)
    """Working time in the process that finished the run."""

    @model_validator(mode="after")
    def _figures_or_reason(self) -> Self:
        if (self.figures is None) == (self.reason is None):
            raise ValueError("expected either figures or the reason why there are none")
        return self

    def __str__(self) -> str:
        """Return one line for people."""
        if self.figures is None:
            return f"failed: {self.reason}"
        length = self.figures.resolution_px
        resolution = "not found" if length is None else f"{length:.2f} px"
        figures = f"SSIM {self.figures.ssim:.4f}, MAE {self.figures.mae:.4g}, resolution {resolution}"
        return f"{figures}, {self.seconds:.0f} s"


def write_outcome(outcome: Outcome, path: Path) -> None:
    """Write the outcome; after a crash at any moment, the file is complete or missing."""
    write_whole(path, outcome.model_dump_json(indent=1).encode())


def read_outcome(path: Path) -> Outcome | None:
    """Return the outcome at `path`; None when the run has not finished.

    Raises
    ------
    SearchError
        When the file exists but is not an outcome.
    """
    if not path.exists():
        return None
    try:
        return Outcome.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as error:
        raise SearchError(
            f"expected the outcome of a run at {path}: remove it to run it again ({error})"
        ) from error
