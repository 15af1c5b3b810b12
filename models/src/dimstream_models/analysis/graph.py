"""The network of tubules: junctions, ends and the tubules between them, as a networkx multigraph.

Thinning adds false paths to a skeleton, which are corrected here: short spurs at the side of a tubule, and
two junctions within one tubule's width where two tubules cross. Parallel tubules, loops and rings are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.analysis.crossings import is_crossing
from dimstream_models.analysis.labels import Labels, Mask, Structure
from dimstream_models.analysis.skeleton import Float64, Path, skeleton_of

EIGHT: Final = np.ones((3, 3), np.int8)
TOUCH_PX: Final = 2.0
"""An end touches a sheet or the border when its distance is at most its own radius plus this, px."""
MANY_WAYS: Final = 1.7
"""A junction wider than a tubule by this factor is a meeting of many tubules; nodes within it are part
of it."""


class Kind(Enum):
    """Where a node of degree one ends, or that it has another degree."""

    JUNCTION = "junction"  # degree two or more, or none
    END = "end"  # free
    SHEET = "sheet"  # touches a sheet
    BORDER = "border"  # of the image; the tubule continues outside


@dataclass(frozen=True)
class GraphSettings:
    """Which parts of a skeleton are kept.

    Parameters
    ----------
    least_piece_px : int
        Pieces of tubules with fewer pixels are omitted (ERnet v2: 50).
    least_hole_px : int
        Holes in tubules with fewer pixels are filled, because they are not meshes of the network.
    spur_radii : float
        An end branch of at most this many radii of the tubule that it leaves is removed; 0 keeps all.
    merge_radii : float
        Junctions at most this many of their radii apart, along the tubule, are merged; 0 keeps all.
    crossing_radii : float
        Two junctions at most this many radii apart are also merged where tubules continue straight through
        both; 0 disables this.
    """

    least_piece_px: int = 50
    least_hole_px: int = 12
    spur_radii: float = 1.5
    merge_radii: float = 0.5
    crossing_radii: float = 3.0


def tubule_graph(labels: Labels, settings: GraphSettings | None = None) -> nx.MultiGraph:
    """Return the network of tubules of labels, (H, W) of `Structure`.

    Nodes have `place` (y, x) in px, `radius_px`, `kind`; edges have `length_px` and `chord_px`, the distance
    of their ends.
    """
    settings = settings or GraphSettings()
    tubules = without_small(labels == Structure.TUBULE, settings.least_piece_px)
    background = ndimage.label(labels == Structure.BACKGROUND)[0]
    small = np.bincount(background.ravel()) < settings.least_hole_px
    small[0] = False
    graph = _raw_graph(tubules | _enclosed(small[background], tubules))
    if settings.spur_radii > 0:
        _prune(graph, settings.spur_radii)
    _merge(graph, settings)
    _measure(graph)
    _tell_ends(graph, labels)
    return graph


def ernet_graph(labels: Labels, *, least_piece_px: int = 50) -> nx.Graph:
    """Return the network as ERnet v2 defines it: sknw's nodes, uncorrected, with parallel tubules as one.

    Parameters
    ----------
    labels : (H, W) of `Structure`
    least_piece_px : int
        Pieces of tubules with fewer pixels are omitted.
    """
    tubules = without_small(labels == Structure.TUBULE, least_piece_px)
    return nx.Graph(_raw_graph(tubules, all_corners=True))


def without_small(mask: Mask, least_px: int) -> Mask:
    """Return a mask (H, W) without its pieces of fewer than `least_px` pixels; pieces also connect at
    corners."""
    pieces, _ = ndimage.label(mask, EIGHT)
    large = np.bincount(pieces.ravel()) >= least_px
    large[0] = False
    return np.asarray(large[pieces])


def _enclosed(holes: Mask, tubules: Mask) -> Mask:
    """Return the holes, (H, W), that touch only tubules."""
    pieces, count = ndimage.label(holes)
    rims = ndimage.grey_dilation(pieces, footprint=ndimage.generate_binary_structure(2, 1))
    open_ones = np.unique(rims[(rims > 0) & ~holes & ~tubules])
    border = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
    closed = np.ones(count + 1, bool)
    closed[[0, *open_ones, *np.unique(border)]] = False
    return np.asarray(closed[pieces])


def path_length(places: Float64) -> float:
    """Return the length of a path over pixels, (n, 2), px.

    Each position is first replaced by the mean of itself and its neighbours, so that steps of a line are not
    counted in full. Straight lines of any direction are then 0 to 1.3 % too long; arcs with a radius of 8 px
    or more are at most 1.6 % too short.
    """
    if len(places) < 2:
        return 0.0
    mean = places.copy()
    mean[1:-1] = (places[:-2] + places[1:-1] + places[2:]) / 3
    return float(np.linalg.norm(np.diff(mean, axis=0), axis=1).sum())


def _raw_graph(tubules: Mask, *, all_corners: bool = False) -> nx.MultiGraph:
    skeleton = skeleton_of(tubules, all_corners=all_corners)
    graph = nx.MultiGraph(tubule_radius_px=skeleton.tubule_radius_px)
    for number, (place, radius) in enumerate(zip(skeleton.nodes, skeleton.radius_px, strict=True)):
        graph.add_node(number, place=place, radius_px=float(radius))
    for path in skeleton.paths:
        _add(graph, path)
    return graph


def _add(graph: nx.MultiGraph, path: Path) -> None:
    ends = [np.linalg.norm(graph.nodes[node]["place"] - place) for node, place in _ends(path)]
    length = path_length(path.places) + float(sum(ends))
    graph.add_edge(path.first, path.second, path=path, length_px=length)


def _ends(path: Path) -> list[tuple[int, NDArray[np.float64]]]:
    return [(path.first, path.places[0]), (path.second, path.places[-1])]


def _prune(graph: nx.MultiGraph, radii: float) -> None:
    """Remove spurs, the shortest first, and join the paths that they separated."""

    def is_spur(one: int, two: int) -> bool:
        tip, base = (one, two) if graph.degree(one) == 1 else (two, one)
        return bool(graph.degree(tip) == 1 and graph.degree(base) > 2)

    for one, two, key in _short_edges(graph, radii, is_spur):
        tip, base = (one, two) if graph.degree(one) == 1 else (two, one)
        graph.remove_edge(one, two, key)
        graph.remove_node(tip)
        _dissolve(graph, base)


def _merge(graph: nx.MultiGraph, settings: GraphSettings) -> None:
    """Merge junctions that are one crossing of tubules, the nearest first."""

    def is_one(one: int, two: int) -> bool:
        if one == two or min(graph.degree(one), graph.degree(two)) < 3:
            return False
        between = min(data["length_px"] for data in graph[one][two].values())
        radius = _radius(graph, one, two)
        if between <= settings.merge_radii * radius:
            return True
        many = radius >= MANY_WAYS * graph.graph["tubule_radius_px"]
        return (many and between <= radius) or is_crossing(graph, one, two)

    for kept, gone, key in _short_edges(graph, max(settings.merge_radii, settings.crossing_radii), is_one):
        graph.remove_edge(kept, gone, key)
        sides = [graph.nodes[node] for node in (kept, gone)]
        sides[0]["place"] = (sides[0]["place"] + sides[1]["place"]) / 2
        sides[0]["radius_px"] = max(side["radius_px"] for side in sides)
        paths = [data["path"] for *_, data in graph.edges([kept, gone], data=True)]
        graph.remove_edges_from(list(graph.edges([kept, gone], keys=True)))
        graph.remove_node(gone)
        for path in paths:
            first, second = (kept if end == gone else end for end in (path.first, path.second))
            _add(graph, Path(first, second, path.places))


def _radius(graph: nx.MultiGraph, one: int, two: int) -> float:
    return float(max(graph.nodes[node]["radius_px"] for node in (one, two)))


def _short_edges(
    graph: nx.MultiGraph, radii: float, wanted: Callable[[int, int], bool]
) -> Iterator[tuple[int, int, int]]:
    """Yield wanted edges of at most `radii` radii of their wider end, the shortest first, until none is left.

    The graph may change in between: each edge is checked again before it is yielded, and all of them
    afterwards.
    """

    def counts(one: int, two: int, key: int) -> bool:
        if not graph.has_edge(one, two, key):
            return False
        reach = radii * _radius(graph, one, two)
        short: bool = graph.edges[one, two, key]["length_px"] <= reach
        return short and wanted(one, two)

    while found := [edge for edge in graph.edges(keys=True) if counts(*edge)]:
        for edge in sorted(found, key=lambda edge: float(graph.edges[edge]["length_px"])):
            if counts(*edge):
                yield edge


def _dissolve(graph: nx.MultiGraph, node: int) -> None:
    """Join the two edges of a node that is no longer a junction; a ring keeps its node."""
    paths = [data["path"] for *_, data in graph.edges(node, data=True)]
    if graph.degree(node) != 2 or len(paths) != 2:
        return
    before = paths[0] if paths[0].second == node else paths[0].turned()
    after = paths[1] if paths[1].first == node else paths[1].turned()
    graph.remove_node(node)
    _add(graph, Path(before.first, after.second, np.concatenate([before.places, after.places])))


def _measure(graph: nx.MultiGraph) -> None:
    for one, two, data in graph.edges(data=True):
        ends = [graph.nodes[node]["place"] for node in (one, two)]
        data["chord_px"] = float(np.linalg.norm(ends[0] - ends[1]))


def _tell_ends(graph: nx.MultiGraph, labels: Labels) -> None:
    sheets = np.isin(labels, (Structure.SHEET, Structure.SHEET_TUBULE))
    to_sheet = ndimage.distance_transform_edt(~sheets) if sheets.any() else np.full(labels.shape, np.inf)
    for node, data in graph.nodes(data=True):
        if graph.degree(node) != 1:
            data["kind"] = Kind.JUNCTION
            continue
        place, reach = data["place"], data["radius_px"] + TOUCH_PX
        to_border = min(*place, *(np.array(labels.shape) - 1 - place))
        at = tuple(np.rint(place).astype(int))
        data["kind"] = (
            Kind.SHEET if to_sheet[at] <= reach else Kind.BORDER if to_border <= reach else Kind.END
        )


def nodes_of(graph: nx.MultiGraph, kind: Kind) -> list[dict[str, Any]]:
    """Return the data of all nodes of a kind."""
    return [data for _, data in graph.nodes(data=True) if data["kind"] is kind]
