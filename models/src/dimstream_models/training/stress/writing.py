"""The stress table as text, JSON, CSV and figures of a bundle, and a picture of example fields."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimstream_models.training.evaluation.restoring import Restore
from dimstream_models.training.stress.cases import DARK, MEANING, PUNCTA_DARK, Kind, case, spots
from dimstream_models.training.stress.goals import Goal
from dimstream_models.training.stress.measuring import Row, filtered
from dimstream_models.training.stress.scenes import Draw

PREFIX: Final = "stress_"
HEADING: Final = "## Stress test"
PICTURED: Final[tuple[tuple[Kind, float, float], ...]] = (
    ("bridge", 160, 1.0),
    ("gap", 100, 1.0),
    ("pair", 120, 3.0),
    ("ring", 160, 3.0),
)
_EXPLAINED: Final = (
    "The model on simple simulated structures, compared with a Gaussian filter tuned on other fields of the "
    "same kind; `dimstream-train stress` measures more. Bridge: light midway between two dots, relative to "
    "their height. Gap: share of detected gaps in tubules (0 nm: no gap). Pair: share of resolved pairs of "
    "tubules. Puncta: share found at three false ones in a field of 256 x 256 px. Total: divided by the "
    "counted photons, relative to that at 10 photons. Contrast: on a uniform background, relative to that "
    "without."
)
CROP: Final = 96  # px of a field in the picture


def as_text(rows: Sequence[Row], found: Sequence[Goal]) -> str:
    """Return the table as aligned text, with the goals below it."""
    lines = []
    for kind, meaning in MEANING.items():
        of_kind = [row for row in rows if row.kind == kind]
        if of_kind:
            lines += [f"{kind}: {meaning}", *(f"  {_line(row)}" for row in of_kind), ""]
    return "\n".join([*lines, *(_goal(goal) for goal in found)])


def as_csv(rows: Sequence[Row]) -> str:
    """Return the table as CSV, one line per row; an empty cell is a missing figure."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return buffer.getvalue()


def as_dict(rows: Sequence[Row], found: Sequence[Goal]) -> dict[str, Any]:
    """Return the content of `stress.json`; `figures` is the input of `export --quality`."""
    return {
        "rows": [asdict(row) for row in rows],
        "goals": [asdict(goal) for goal in found],
        "meaning": dict(MEANING),
        "figures": as_figures(rows),
    }


def as_figures(rows: Sequence[Row]) -> dict[str, float]:
    """Return each row's figures by name, the model's and the Gaussian's."""
    figures: dict[str, float] = {}
    for row in rows:
        name = f"{PREFIX}{_name(row)}"
        figures[name] = round(row.model, 3)
        figures[f"{name}_gaussian"] = round(row.gaussian, 3)
    return figures


def card_section(quality: Mapping[str, float]) -> str:
    """Return the section of a model card; empty if there was no test."""
    names = [name for name in quality if name.startswith(PREFIX) and not name.endswith("_gaussian")]
    if not names:
        return ""
    rows = "\n".join(
        f"| {_words(name)} | {quality[name]:g} | {quality.get(f'{name}_gaussian', float('nan')):g} |"
        for name in names
    )
    return f"{HEADING}\n\n{_EXPLAINED}\n\n| case | model | Gaussian |\n|---|---|---|\n{rows}"


def with_stress(documentation: str, quality: Mapping[str, float]) -> str:
    """Return the user's own README with the section at its end, unless it has one."""
    section = card_section(quality)
    return documentation if not section or HEADING in documentation else f"{documentation}\n{section}\n"


def draw_picture(restore: Restore, *, seed: int, pixel_nm: float) -> bytes:
    """Return a PNG: counts, a Gaussian, model and truth of one field of each kind."""
    panels: list[tuple[Draw, float, float, str]] = [
        _panel(case(*pictured, pixel_nm).draw, pictured) for pictured in PICTURED
    ]
    panels.append((spots(pixel_nm), 5.0, PUNCTA_DARK, "single puncta, 5 photons"))
    figure = Figure(figsize=(10, 2.5 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 4, squeeze=False)
    for row, (draw, photons, dark, title) in zip(axes, panels, strict=True):
        rng = np.random.default_rng((seed, 9))
        scene = draw(rng)
        counts = scene.exposed(rng, photons, dark)
        images: tuple[NDArray[Any], ...] = (counts, filtered(counts, 1.3), restore(counts), scene.light)
        names = (title, "Gaussian, 1.3 px", "model", "truth")
        for place, image, name in zip(row, images, names, strict=True):
            _show(place, image[:CROP, :CROP], name)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


def _panel(draw: Draw, pictured: tuple[Kind, float, float]) -> tuple[Draw, float, float, str]:
    kind, size_nm, photons = pictured
    return draw, photons, DARK, f"{kind}, {size_nm:g} nm, {photons:g} ph"


def _show(place: Any, image: NDArray[Any], title: str) -> None:
    white = float(np.quantile(image, 0.998))
    place.imshow(image, cmap="magma", vmin=0, vmax=white if white > 0 else 1.0)
    place.set_title(title, fontsize=9)
    place.set_axis_off()


def _line(row: Row) -> str:
    size = "" if row.size_nm is None else f"{row.size_nm:4g} nm "
    unit = "photons of background" if row.kind == "contrast" else "photons"
    width = "" if row.sigma_px is None else f" (width {row.sigma_px:g} px)"
    ideal = "" if row.ideal is None else f", likelihood ratio {row.ideal:.2f}"
    return (
        f"{size}{row.photons:4g} {unit}: truth {row.truth:.2f}, model {_with(row.model, row.model_error)},"
        f" Gaussian {_with(row.gaussian, row.gaussian_error)}{width}{ideal}"
    )


def _with(value: float, error: float | None) -> str:
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"


def _goal(goal: Goal) -> str:
    return f"{'met    ' if goal.met else 'NOT MET'} {goal.text}: {goal.measured}"


def _name(row: Row) -> str:
    size = "" if row.size_nm is None else f"_{row.size_nm:g}nm"
    return f"{row.kind}{size}_{row.photons:g}ph".replace(".", "_")


def _words(name: str) -> str:
    """Return a description of the case in a figure's name."""
    parts = name.removeprefix(PREFIX).replace("0_", "0.").split("_")
    return ", ".join(part.replace("nm", " nm").replace("ph", " photons") for part in parts)
