"""The paper's figure 3 of one cell: frames, overlays and all panels over time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import tifffile
from matplotlib.figure import Figure as Canvas

from dimstream_models.analysis.collating import PERSISTENCE
from dimstream_models.analysis.reports.cell import AnalysedCell
from dimstream_models.analysis.reports.known_bias import KnownBias
from dimstream_models.analysis.reports.overlays import draw_frame, draw_overlay, legend_handles
from dimstream_models.analysis.reports.panels import (
    draw_degrees,
    draw_panel,
    draw_ways,
    flag_handles,
    panels,
)
from dimstream_models.analysis.reports.shown_frames import ShownFrame, contrast_of

DPI: Final = 150
COLUMNS: Final = 12


def draw_figure(cell: AnalysedCell, shown: Sequence[ShownFrame], bias: KnownBias) -> Canvas:
    """Return the figure of one cell, with the known error under each panel's title."""
    canvas = Canvas(figsize=(12, 15), layout="constrained")
    grid = canvas.add_gridspec(5, 1, height_ratios=(3, 3, 2.4, 2.4, 2.4))
    _draw_frames(canvas, grid[0:2], cell, shown)
    rows = [grid[row].subgridspec(1, COLUMNS) for row in (2, 3, 4)]
    all_panels = panels(scaled=cell.scaled)
    for letter, place in (
        ("B", rows[0][:5]),
        ("D", rows[1][:6]),
        ("E", rows[1][6:]),
        ("F", rows[2][:4]),
        ("G", rows[2][4:8]),
    ):
        panel = all_panels[letter]
        ax = canvas.add_subplot(place)
        draw_panel(ax, cell, panel)
        title(ax, letter, panel.title, bias.line(panel.curves, panel.names()))
    ax = canvas.add_subplot(rows[0][5:8])
    draw_degrees(ax, cell)
    title(ax, "C", "Nodes by degree", bias.line(["ernet_degree_3"], {"ernet_degree_3": "3-way"}))
    ax = canvas.add_subplot(rows[0][8:])
    draw_ways(ax, cell)
    title(ax, "C", "One-, two- and three-way nodes", "ERnet's definition, as in the paper's inset")
    _draw_persistence(canvas, canvas.add_subplot(rows[2][8:]), cell)
    canvas.suptitle(head(cell), fontsize=11)
    handles = [*legend_handles(), *flag_handles(cell)]
    canvas.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return canvas


def as_png(canvas: Canvas) -> bytes:
    """Return a figure as PNG; its layout is calculated only once."""
    file = io.BytesIO()
    canvas.savefig(file, format="png", dpi=DPI)
    canvas.set_layout_engine("none")
    return file.getvalue()


def draw_overlay_picture(cell: AnalysedCell, shown: ShownFrame, contrast: tuple[float, float]) -> Canvas:
    """Return one large picture of a frame: denoised, and next to it the overlay."""
    height, width = shown.image.shape
    canvas = Canvas(figsize=(12, 6.4 * height / width + 0.6), layout="constrained")
    left, right = canvas.subplots(1, 2)
    draw_frame(left, shown, contrast, cell.pixel_um)
    draw_overlay(right, shown, contrast, cell.graph, marker_pt=4.5)
    canvas.legend(handles=legend_handles(), loc="outside lower center", ncols=7, fontsize=8, frameon=False)
    return canvas


def head(cell: AnalysedCell) -> str:
    """Return two lines about what was analysed."""
    left = ", ".join(f"{n} {flag}" for flag, n in cell.left_out.items()) or "none"
    size = "pixels of unknown size" if cell.pixel_um is None else f"pixels of {cell.pixel_um * 1e3:.4g} nm"
    return (
        f"{cell.name}: {cell.analysed} of {len(cell)} frames analysed (left out: {left}), {size}\n"
        f"labels: {cell.labels}"
    )


def title(ax: Any, letter: str, text: str, below: str) -> None:
    """Write a panel's letter and title, and a smaller line under them."""
    ax.set_title(f"{letter}  {text}\n", fontsize=9, loc="left", fontweight="bold")
    ax.text(0, 1.02, below, transform=ax.transAxes, fontsize=6.5, color="0.35")


def _draw_frames(canvas: Canvas, place: Any, cell: AnalysedCell, shown: Sequence[ShownFrame]) -> None:
    grid, contrast, axis = place.subgridspec(2, len(shown)), contrast_of(shown), cell.time_axis()
    for column, frame in enumerate(shown):
        upper, lower = (canvas.add_subplot(grid[row, column]) for row in (0, 1))
        draw_frame(upper, frame, contrast, cell.pixel_um)
        upper.set_title(("A  " if not column else "") + axis.text(frame.number), fontsize=9, loc="left")
        draw_overlay(lower, frame, contrast, cell.graph, marker_pt=2.0)


def _draw_persistence(canvas: Canvas, ax: Any, cell: AnalysedCell) -> None:
    shares = tifffile.imread(cell.folder / PERSISTENCE)[0]  # (H, W)
    image = ax.imshow(shares, vmin=0, vmax=1, cmap="magma")
    ax.set(xticks=[], yticks=[])
    canvas.colorbar(image, ax=ax, shrink=0.8)
    title(ax, "H", "Where the ER stays", "share of the frames in which a pixel is ER")
