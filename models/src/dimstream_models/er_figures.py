"""All figures that are measured of a frame of the ER: name, unit, definition and source, declared once.

The module is not part of the analysis, because the server accepts these figures from analysis programs and
must not import the analysis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MOST_COUNTED: Final = 6
"""Degrees above this are counted together; ERnet v2 omits them silently."""
_PAPER = "paper, Results and figure 3"
_ERNET = "ERnet v2"


@dataclass(frozen=True)
class Figure:
    """One figure of a frame.

    Parameters
    ----------
    name : str
        Name of the column, without its unit.
    title : str
        Name for people.
    definition : str
    source : str
        Publication; empty for our own figures.
    dimension : int
        Dimension as a power of length: 1 a length, 2 an area, -2 a number per area.
    counted : bool
        Whether it is a whole number.
    """

    name: str
    title: str
    definition: str
    source: str = ""
    dimension: int = 0
    counted: bool = False

    def column(self, *, scaled: bool) -> str:
        """Return the name with its unit: µm where the scale is known, else px."""
        unit = "um" if scaled else "px"
        power = "" if abs(self.dimension) == 1 else str(abs(self.dimension))
        if not self.dimension:
            return self.name
        return f"{self.name}_{'per_' * (self.dimension < 0)}{unit}{power}"

    def unit(self, *, scaled: bool) -> str:
        """Return the unit: based on µm where the scale is known, else on px; empty for numbers without
        unit."""
        power = {1: "", 2: "²", -2: "²"}.get(self.dimension)
        return "" if power is None else f"{'per ' * (self.dimension < 0)}{'µm' if scaled else 'px'}{power}"

    def titled(self, *, scaled: bool) -> str:
        """Return the title with its unit."""
        unit = self.unit(scaled=scaled)
        return f"{self.title}, {unit}" if unit else self.title

    def factor(self, pixel_um: float | None) -> float:
        """Return the factor from px to µm for this figure; 1 where the side of a pixel is unknown."""
        return 1.0 if pixel_um is None else float(pixel_um**self.dimension)


def _count(name: str, title: str, definition: str, source: str = "") -> Figure:
    return Figure(name, title, definition, source, counted=True)


def _degrees(prefix: str, whose: str, source: str, *, least: int) -> list[Figure]:
    most = MOST_COUNTED
    counts = [
        _count(
            f"{prefix}degree_{n}", f"{n}-way nodes{whose}", f"Nodes at which {n} tubule ends meet.", source
        )
        for n in range(least, most + 1)
    ]
    above = f"Nodes at which more than {most} tubule ends meet."
    return [*counts, _count(f"{prefix}degree_above_{most}", f"Nodes above {most}-way{whose}", above, source)]


def _network(prefix: str, whose: str, source: str) -> list[Figure]:
    return [
        _count(f"{prefix}nodes", f"Nodes{whose}", "Nodes of the graph, of any degree.", source),
        _count(f"{prefix}edges", f"Tubules between nodes{whose}", "Edges of the graph.", source),
        _count(
            f"{prefix}components", f"Connected parts{whose}", "Connected components of the graph.", source
        ),
        Figure(
            f"{prefix}largest_nodes",
            f"Share of nodes in the largest part{whose}",
            "Nodes of the component with most nodes, over all nodes.",
            source,
        ),
        Figure(
            f"{prefix}largest_edges",
            f"Share of edges in the largest part{whose}",
            "Edges of the component with most nodes, over all edges.",
            source,
        ),
        Figure(
            f"{prefix}assortativity",
            f"Assortativity{whose}",
            "Correlation of the degrees at both ends of an edge (Newman 2002,"
            " doi 10.1103/PhysRevLett.89.208701); none where all are equal.",
            source,
        ),
        Figure(
            f"{prefix}clustering",
            f"Clustering{whose}",
            "Mean over nodes of the share of pairs of neighbours that are joined (Watts and Strogatz 1998,"
            " doi 10.1038/30918).",
            source,
        ),
    ]


def _instances(name: str, title: str, what: str) -> list[Figure]:
    return [
        _count(name, title, f"Number of {what}.", _PAPER),
        Figure(f"{name}_area", f"Mean area of {title.lower()}", f"Mean area of {what}.", "", 2),
        Figure(
            f"{name}_perimeter",
            f"Mean perimeter of {title.lower()}",
            f"Mean perimeter of {what}, by Crofton's formula in four directions.",
            "",
            1,
        ),
    ]


AREAS: Final = (
    Figure("foreground", "ER, share of the frame", "Share of the frame's pixels that are ER.", _PAPER),
    Figure(
        "tubule_fraction", "Tubules, share of the ER", "Share of the ER's pixels that are tubules.", _PAPER
    ),
    Figure("sheet_fraction", "Sheets, share of the ER", "Share of the ER's pixels that are sheets.", _PAPER),
    *_instances("tubes", "Tubes", "connected pieces of tubules, which touch at corners, too"),
    *_instances("sheets", "Sheets", "connected pieces of sheets, which touch at corners, too"),
    *_instances(
        "gaps", "Gaps", "pieces of background that the ER encloses: none that reach the border of the frame"
    ),
    Figure(
        "ssim",
        "SSIM with the frame before",
        "Mean structural similarity with the frame before (window 7), each frame over its own maximum; none"
        " where that was not analysed.",
        _PAPER,
    ),
)
GRAPH: Final = (
    *_network("", "", ""),
    _count("isolated", "Pieces without an end", "Nodes of degree 0: pieces as wide as they are long."),
    _count("free_ends", "Free ends", "Nodes of degree 1 that touch neither a sheet nor the border."),
    _count("ends_at_sheets", "Ends at sheets", "Nodes of degree 1 that touch a sheet."),
    _count("ends_at_border", "Ends at the border", "Nodes of degree 1 where the frame ends."),
    *_degrees("", "", "", least=3),
    _count("junctions", "Junctions", "Nodes at which three tubule ends or more meet."),
    Figure("junction_density", "Junctions per area", "Junctions per area of the frame.", "", -2),
    Figure("node_density", "Nodes per area", "Nodes per area of the frame.", "", -2),
    _count("loops", "Meshes", "Independent cycles: edges - nodes + components."),
    Figure("tubule_length", "Length of all tubules", "Sum of the lengths of all edges.", "", 1),
    Figure("edge_length", "Length between nodes", "Median length of the edges.", "", 1),
    Figure(
        "tortuosity",
        "Tortuosity",
        "Sum of the lengths of all edges that are no loops, over the sum of their ends' distances.",
    ),
    *_network("ernet_", ", ERnet's definition", _ERNET),
    *_degrees("ernet_", ", ERnet's definition", _ERNET, least=1),
)
FIGURES: Final[Mapping[str, Figure]] = {figure.name: figure for figure in (*AREAS, *GRAPH)}


def scaled(values: Mapping[str, float | None], pixel_um: float | None) -> dict[str, float | None]:
    """Return figures (values in px, by name) as columns: in µm where the side of a pixel is known, else in
    px."""
    columns = {}
    for name, value in values.items():
        figure = FIGURES[name]
        if figure.dimension and pixel_um is not None and value is not None:
            value = value * figure.factor(pixel_um)
        columns[figure.column(scaled=pixel_um is not None)] = value
    return columns


def table() -> str:
    """Return all figures with their definitions, as a Markdown table."""
    rows = ["| column | figure | definition | source |", "|---|---|---|---|"]
    for figure in FIGURES.values():
        source = figure.source or "ours"
        rows.append(f"| `{figure.column(scaled=True)}` | {figure.title} | {figure.definition} | {source} |")
    return "\n".join(rows)
