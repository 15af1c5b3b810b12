"""Everything that is measured of one frame: labels, graph, pieces and all figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from dimstream_models.analysis.graph import GraphSettings, ernet_graph, tubule_graph
from dimstream_models.analysis.graph_figures import ernet_figures, graph_figures
from dimstream_models.analysis.instances import Pieces, area_figures, gaps_of, sheets_of, tubes_of
from dimstream_models.analysis.labels import Labels, Structure
from dimstream_models.arithmetic import normalise_prediction
from dimstream_models.ssim import ssim


@dataclass(frozen=True)
class FrameSettings:
    """How labels are measured.

    Parameters
    ----------
    sheet_tubules : {"sheet", "tubule"}
        How tubules on sheets are counted; the paper counts them as sheets.
    graph : GraphSettings
    """

    sheet_tubules: Literal["sheet", "tubule"] = "sheet"
    graph: GraphSettings = field(default_factory=GraphSettings)


@dataclass(frozen=True)
class FrameFindings:
    """The findings of one frame.

    Parameters
    ----------
    labels : (H, W) uint8
        Background, tubule or sheet; tubules on sheets were counted as one of these.
    graph : networkx.MultiGraph
    gaps : Pieces
    figures : dict of str to float or None
        By the names of `er_figures.FIGURES`, in px; SSIM is not among them.
    """

    labels: Labels
    graph: nx.MultiGraph
    gaps: Pieces
    figures: dict[str, float | None]


def analyse_frame(labels: Labels, settings: FrameSettings | None = None) -> FrameFindings:
    """Return the findings in the labels of one frame, (H, W) uint8 of `Structure`."""
    settings = settings or FrameSettings()
    plain = np.where(
        labels == Structure.SHEET_TUBULE, np.uint8(Structure[settings.sheet_tubules.upper()]), labels
    )
    graph, gaps = tubule_graph(plain, settings.graph), gaps_of(plain)
    figures = {
        **area_figures(plain, tubes=tubes_of(plain), sheets=sheets_of(plain), gaps=gaps),
        **graph_figures(graph, plain.shape),
        **ernet_figures(ernet_graph(plain, least_piece_px=settings.graph.least_piece_px)),
    }
    return FrameFindings(plain, graph, gaps, figures)


def adjacent_ssim(before: NDArray[Any], after: NDArray[Any]) -> float:
    """Return the SSIM of two frames (H, W) of any unit, each divided by its own maximum as in the paper."""
    return ssim(
        normalise_prediction(before, "maximum"), normalise_prediction(after, "maximum"), data_range=1.0
    )
