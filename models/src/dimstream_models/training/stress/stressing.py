"""The stress test of a bundle: its table, goals and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dimstream_models.bundle import Bundle
from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.restoring import Restore, restorer
from dimstream_models.training.stress.goals import Goal, goals
from dimstream_models.training.stress.measuring import Row, full_plan, measure, short_plan
from dimstream_models.training.stress.writing import as_csv, as_dict, as_figures, as_text, draw_picture

PIXEL_NM: Final = 20.0  # if a bundle does not state its own
PIXELS_NM: Final = (5.0, 60.0)  # with which the structures are visible
SEED: Final = 13


@dataclass(frozen=True)
class Stressed:
    """Results of the test."""

    rows: Sequence[Row]
    goals: Sequence[Goal]
    pixel_nm: float

    @property
    def text(self) -> str:
        """The table and the goals as text."""
        return as_text(self.rows, self.goals)


def stress(bundle: Bundle, out: Path, *, seed: int = SEED, pixel_nm: float | None = None) -> Stressed:
    """Measure a bundle and write `stress.txt`, `stress.json`, `stress.csv` and `stress.png` into a folder.

    Parameters
    ----------
    bundle : Bundle
        The bundle, which is run on the CPU as by the server.
    out : Path
        Folder, created if it is missing; files with these names are replaced.
    seed : int
        Seed of all scenes and photons.
    pixel_nm : float, optional
        Side of a pixel; by default the bundle's own, else 20 nm.

    Raises
    ------
    CannotEvaluate
        When pixels are not 5 to 60 nm, because structures are 60 to 240 nm apart, or the bundle needs other
        axes than single planes.
    TestTensorMismatch
        When the network does not reproduce the bundle's test output.
    """
    own = None if bundle.config is None else bundle.config.pixel_size_nm
    pixel = pixel_nm or own or PIXEL_NM
    if not _suits(pixel):
        raise CannotEvaluate(
            f"expected pixels of {PIXELS_NM[0]:g} to {PIXELS_NM[1]:g} nm, because the structures are 60 to "
            f"240 nm apart, got {pixel:g}: give another --pixel-size-nm"
        )
    restore = restorer(bundle)
    rows = measure(restore, full_plan(pixel), seed=seed)
    stressed = Stressed(rows, goals(rows), pixel)
    message = {"bundle": bundle.id, "sha256": bundle.sha256, "seed": seed, "pixel_size_nm": pixel}
    out.mkdir(parents=True, exist_ok=True)
    (out / "stress.txt").write_text(stressed.text + "\n")
    (out / "stress.json").write_text(json.dumps(message | as_dict(rows, stressed.goals), indent=2) + "\n")
    (out / "stress.csv").write_text(as_csv(rows))
    (out / "stress.png").write_bytes(draw_picture(restore, seed=seed, pixel_nm=pixel))
    return stressed


def stress_figures(restore: Restore, *, pixel_nm: float | None, seed: int = SEED) -> dict[str, float]:
    """Return the figures of the short test, which every exported bundle contains; none for pixel sizes that
    do not show the structures."""
    pixel = pixel_nm or PIXEL_NM
    return as_figures(measure(restore, short_plan(pixel), seed=seed)) if _suits(pixel) else {}


def _suits(pixel_nm: float) -> bool:
    return PIXELS_NM[0] <= pixel_nm <= PIXELS_NM[1]
