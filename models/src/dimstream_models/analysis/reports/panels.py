"""The panels of figure 3: their figures, colours, and how they are drawn over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dimstream_models.analysis.movies import OK
from dimstream_models.analysis.reports.cell import AnalysedCell
from dimstream_models.analysis.uncertainty import Mean
from dimstream_models.er_figures import MOST_COUNTED

TUBULES, SHEETS, GAPS, ER = "#0089a8", "#d49a00", "#7a7a7a", "#222222"
FLAG_COLOURS: Final[Mapping[str, str]] = {"suspect": "#e45756", "unjudged": "#9d9d9d"}
OTHER_FLAG: Final = "#5b3fa0"
"""Colour of frames without a result, such as failed ones."""
SMOOTH_FROM: Final = 200
"""Longer series, in frames, also get a running mean over a fiftieth of them."""
MARKED_UP_TO: Final = 120
WAYS: Final = ((1, "#2e9e4f"), (2, "#2f6fd0"), (3, "#e0559b"))
"""Degrees and colours of the paper's inset: one-, two- and three-way nodes."""


@dataclass(frozen=True)
class Panel:
    """Figures that are drawn over time in one panel.

    Parameters
    ----------
    letter : str
        The paper's letter, if the paper has the panel.
    title, unit : str
        Title for people, and unit of the vertical axis.
    curves : dict of str to (str, str)
        Name and colour of each figure.
    """

    letter: str
    title: str
    unit: str
    curves: Mapping[str, tuple[str, str]]

    def names(self) -> dict[str, str]:
        """Return the name of each figure."""
        return {figure: name for figure, (name, _) in self.curves.items()}


def panels(*, scaled: bool) -> dict[str, Panel]:
    """Return the panels over time by their letters."""
    area = "µm²" if scaled else "px²"
    kinds = {"tubes": ("tubules", TUBULES), "sheets": ("sheets", SHEETS), "gaps": ("gaps", GAPS)}
    found = (
        Panel(
            "B",
            "Tubules and sheets",
            "share of the ER",
            {"tubule_fraction": ("tubules", TUBULES), "sheet_fraction": ("sheets", SHEETS)},
        ),
        Panel("D", "Pieces of tubules, sheets and gaps", "number in a frame", kinds),
        Panel("E", "Foreground", "share of the frame that is ER", {"foreground": ("ER", ER)}),
        Panel("F", "Similarity of successive frames", "SSIM", {"ssim": ("SSIM", ER)}),
        Panel(
            "G",
            "Size of the pieces",
            f"mean area, {area}",
            {f"{figure}_area": curve for figure, curve in kinds.items()},
        ),
    )
    return {panel.letter: panel for panel in found}


def draw_panel(ax: Axes, cell: AnalysedCell, panel: Panel) -> None:
    """Draw figures of a cell over time, with gaps where frames were left out, and flags as background
    colours."""
    axis = cell.time_axis()
    for figure, (name, colour) in panel.curves.items():
        values = cell.series(figure)
        _draw_series(ax, axis.at, values, colour, f"{name} {mean_text(cell.mean(figure))}")
    if panel.unit.startswith("share"):
        ax.set_ylim(0, 1 if len(panel.curves) > 1 else None)
    ax.set_ylabel(panel.unit)
    finish(ax, cell)


def draw_ways(ax: Axes, cell: AnalysedCell) -> None:
    """Draw the shares of one-, two- and three-way nodes over time, as in the paper's inset."""
    axis, nodes = cell.time_axis(), cell.series("ernet_nodes")
    for degree, colour in WAYS:
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = cell.series(f"ernet_degree_{degree}") / nodes
        _draw_series(ax, axis.at, shares, colour, f"{degree}-way")
    ax.set_ylim(0, 1)
    ax.set_ylabel("share of the nodes")
    finish(ax, cell)


def draw_degrees(ax: Axes, cell: AnalysedCell) -> None:
    """Draw the number of nodes of each degree, by both definitions: means and standard deviations over
    frames."""
    ways = [*range(1, MOST_COUNTED + 1)]
    ours = {
        1: "free_ends",
        **{n: f"degree_{n}" for n in ways if n > 2},
        MOST_COUNTED + 1: f"degree_above_{MOST_COUNTED}",
    }
    ernet = {n: f"ernet_degree_{n}" for n in ways}
    ernet[MOST_COUNTED + 1] = f"ernet_degree_above_{MOST_COUNTED}"
    _bars(ax, cell, ernet, -0.2, "#4a6fa5", "ERnet's definition")
    _bars(ax, cell, ours, 0.2, "#e0559b", "corrected; 1: free ends only")
    ax.set_xticks([*ways, MOST_COUNTED + 1], [*map(str, ways), f">{MOST_COUNTED}"])
    ax.set_xlabel("tubules that meet")
    ax.set_ylabel("nodes in a frame")
    draw_legend(ax)


def finish(ax: Axes, cell: AnalysedCell) -> None:
    """Shade frames by their flags, and label the time axis."""
    axis = cell.time_axis()
    half = float(np.median(np.diff(axis.at))) / 2 if len(axis.at) > 1 else 0.5
    for span in cell.flag_spans():
        ax.axvspan(
            axis.at[span.first] - half,
            axis.at[span.last] + half,
            color=flag_colour(span.flag),
            alpha=0.28,
            lw=0,
        )
    if len(axis.at) > 1:
        ax.set_xlim(axis.at[0] - half, axis.at[-1] + half)
    ax.set_xlabel(axis.unit)
    if ax.get_legend_handles_labels()[0]:
        draw_legend(ax)


def draw_legend(ax: Axes) -> None:
    """Draw the legend of a panel so that it is readable in front of curves."""
    ax.legend(fontsize=7, loc="best", framealpha=0.8, edgecolor="none", borderpad=0.2)


def flag_handles(cell: AnalysedCell) -> list[Patch]:
    """Return the legend of the shades in a cell's panels."""
    flags = sorted({span.flag for span in cell.flag_spans()})
    return [Patch(color=flag_colour(flag), alpha=0.4, label=f"shaded: {flag}") for flag in flags]


def flag_colour(flag: str) -> str:
    """Return the colour of a flag other than ok."""
    assert flag != OK  # frames that can be trusted are not shaded
    return FLAG_COLOURS.get(flag, OTHER_FLAG)


def mean_text(mean: Mean) -> str:
    """Return a mean as text, with its interval if that is known."""
    if mean.value is None:
        return "none"
    if mean.low is None or mean.high is None:
        return three_digits(mean.value)
    return f"{three_digits(mean.value)} ({three_digits(mean.low)} to {three_digits(mean.high)})"


def three_digits(value: float) -> str:
    """Return a number with three significant digits, including trailing zeros."""
    return f"{value:#.3g}".rstrip(".")


def running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the known values around each frame, (T,); nan where the frame's own value is
    unknown."""
    width = max(3, len(values) // 50)
    known = np.isfinite(values)
    kernel = np.ones(width)
    sums = np.convolve(np.where(known, values, 0.0), kernel, "same")
    counts = np.convolve(known.astype(float), kernel, "same")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, sums / counts, np.nan)


def _draw_series(
    ax: Axes, at: NDArray[np.float64], values: NDArray[np.float64], colour: str, label: str
) -> None:
    if len(values) <= SMOOTH_FROM:
        marker = "." if len(values) <= MARKED_UP_TO else None
        ax.plot(at, values, color=colour, linewidth=1, marker=marker, markersize=3, label=label)
        return
    ax.plot(at, values, color=colour, linewidth=0.4, alpha=0.45)
    ax.plot(at, running_mean(values), color=colour, linewidth=1.4, label=label)


def _bars(
    ax: Axes, cell: AnalysedCell, figures: Mapping[int, str], shift: float, colour: str, label: str
) -> None:
    means = [cell.mean(figure) for figure in figures.values()]
    at = np.array(list(figures)) + shift
    heights = [mean.value or 0.0 for mean in means]
    deviations = [mean.deviation or 0.0 for mean in means]
    ax.bar(at, heights, 0.4, yerr=deviations, color=colour, label=label, error_kw={"elinewidth": 0.8})
