"""Pictures of frames: denoised, and with tubules, sheets, the skeleton and the nodes of the network."""

from __future__ import annotations

from typing import Final

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from dimstream_models.analysis.graph import GraphSettings, Kind, tubule_graph
from dimstream_models.analysis.labels import Structure
from dimstream_models.analysis.reports.shown_frames import ShownFrame
from dimstream_models.analysis.scale_bar import scale_bar

TUBULE: Final = (0.0, 0.9, 1.0)
SHEET: Final = (1.0, 0.85, 0.0)
OPACITY: Final = 0.38
SKELETON: Final = "white"
NODES: Final[tuple[tuple[str, str, str], ...]] = (
    ("free end", "#2ee56b", "o"),
    ("end at a sheet or at the border", "#2ee56b", "s"),
    ("3-way junction", "#ff4fa3", "o"),
    ("junction of 4 and more", "#ff2020", "D"),
)
"""Name, colour and marker of each kind of node."""


def draw_frame(ax: Axes, shown: ShownFrame, contrast: tuple[float, float], pixel_um: float | None) -> None:
    """Draw a denoised frame in grey with a scale bar."""
    ax.imshow(shown.image, cmap="gray", vmin=contrast[0], vmax=contrast[1], interpolation="nearest")
    _bare(ax)
    bar = scale_bar(shown.image.shape[1], pixel_um)
    if bar is not None:
        height, width = shown.image.shape
        right, low = 0.96 * width, 0.95 * height
        ax.plot([right - bar.length_px, right], [low, low], color="white", linewidth=2.5)
        ax.text(
            right - bar.length_px / 2, low - 0.02 * height, bar.text, color="white", fontsize=7, ha="center"
        )


def draw_overlay(
    ax: Axes,
    shown: ShownFrame,
    contrast: tuple[float, float],
    settings: GraphSettings,
    *,
    marker_pt: float = 3.0,
) -> None:
    """Draw a frame with its labels in colour, the skeleton of tubules and the nodes of their network."""
    ax.imshow(coloured(shown, contrast), interpolation="nearest")
    _bare(ax)
    graph = tubule_graph(shown.labels, settings)
    for *_, data in graph.edges(data=True):
        places = data["path"].places
        ax.plot(places[:, 1], places[:, 0], color=SKELETON, linewidth=0.5)
    for (_, colour, marker), places in zip(NODES, node_places(graph), strict=True):
        ax.plot(
            places[:, 1],
            places[:, 0],
            marker,
            color=colour,
            markersize=marker_pt,
            markeredgewidth=0,
            linestyle="",
        )


def coloured(shown: ShownFrame, contrast: tuple[float, float]) -> NDArray[np.float64]:
    """Return the frame as colours, (H, W, 3) from 0 to 1; tubules and sheets are tinted."""
    black, white = contrast
    grey = np.clip((shown.image.astype(np.float64) - black) / (white - black), 0, 1)
    picture = np.repeat(grey[..., None], 3, axis=-1)
    for structure, colour in ((Structure.TUBULE, TUBULE), (Structure.SHEET, SHEET)):
        there = shown.labels == structure
        picture[there] = (1 - OPACITY) * picture[there] + OPACITY * np.array(colour)
    return picture


def node_places(graph: nx.MultiGraph) -> list[NDArray[np.float64]]:
    """Return the positions (y, x), each (n, 2) px, of free ends, other ends, 3-way junctions and larger
    ones."""
    found: list[list[NDArray[np.float64]]] = [[], [], [], []]
    for node, degree in graph.degree():
        data = graph.nodes[node]
        if degree == 1:
            found[0 if data["kind"] is Kind.END else 1].append(data["place"])
        elif degree > 2:
            found[2 if degree == 3 else 3].append(data["place"])
    return [np.array(places, np.float64).reshape(-1, 2) for places in found]


def legend_handles() -> list[Line2D]:
    """Return the legend of colours and markers."""
    patches = [
        Line2D([], [], color=colour, linewidth=6, label=name)
        for name, colour in (("tubule", TUBULE), ("sheet", SHEET))
    ]
    line = Line2D([], [], color="0.6", linewidth=1, label="skeleton (white)")
    nodes = [
        Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5, label=name)
        for name, colour, marker in NODES
    ]
    return [*patches, line, *nodes]


def _bare(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
