"""The exact labels and network of a simulated ER scene: the truth for an analysis of its images.

A pixel is tubule if it is within half the width at half maximum of a tubule's image, sheet if it is inside a
sheet, and background otherwise; if both, it is a tubule on a sheet. Puncta and haze are background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from dimstream_models.training.simulation.er_scenes import MARGIN_PX, Array, Scene, Tubules

TUBULE: Final = 1
SHEET: Final = 2
SHEET_TUBULE: Final = 3
HALF_WIDTH: Final = float(np.sqrt(2 * np.log(2)))  # half width at half maximum of a Gaussian, in its sigma
_THERE: Final = 0.5  # share of its light at which an object counts as present


@dataclass(frozen=True)
class ErTruth:
    """The truth of a scene at one time.

    Parameters
    ----------
    labels : (H, W) uint8
        0 background, 1 tubule, 2 sheet, 3 tubule on a sheet.
    network : networkx.Graph
        All present edges in the field of view, with `length_px`; nodes have `place` (y, x), px.
    """

    labels: NDArray[np.uint8]
    network: nx.Graph


def er_truth(scene: Scene, t_s: float = 0.0) -> ErTruth:
    """Return the labels and the network of a scene at time `t_s`, matching `scene.structure(t_s)`.

    The sides of a sheet are tubules, half of whose width is on it; they are part of the network.
    """
    tubules = np.zeros(scene.shape, bool)
    network = nx.Graph()
    for number, each in enumerate(scene.tubules):
        paths, edges = _there(scene, each, t_s)
        tubules |= _near(paths.reshape(-1, 2), scene.shape, HALF_WIDTH * scene.sigma_px)
        _join(network, number, paths, edges, each.nodes_at(t_s) + scene.drift_px_s * t_s, scene.shape)
    sheets = _inside(scene, scene.sheet_at(t_s) > 0, t_s) & _inside(scene, scene.cover > _THERE, t_s)
    labels = (TUBULE * tubules + SHEET * sheets).astype(np.uint8)
    return ErTruth(labels, network)


def _there(scene: Scene, tubules: Tubules, t_s: float) -> tuple[Array, NDArray[np.intp]]:
    """Return the centre lines, (e, s, 2) px in the field of view, and the nodes, of the edges that are
    present."""
    alive = tubules.alive_at(t_s)[:, 0] > _THERE
    paths = tubules.paths_at(t_s)[alive]
    middles = np.rint(paths[:, paths.shape[1] // 2] + MARGIN_PX).astype(int)
    middles = np.clip(middles, 0, np.array(scene.cover.shape) - 1)
    covered = scene.cover[tuple(middles.T)] > _THERE
    return paths[covered] + scene.drift_px_s * t_s, tubules.edges[alive][covered]


def _near(places: Array, shape: tuple[int, int], distance: float) -> NDArray[np.bool_]:
    """Return the pixels (H, W) within a distance of a position, (n, 2) px."""
    if not len(places):
        return np.zeros(shape, bool)
    pixels = np.argwhere(np.ones(shape, bool))
    nearest, _ = spatial.cKDTree(places).query(pixels, distance_upper_bound=distance)
    return np.asarray(np.isfinite(nearest).reshape(shape))


def _inside(scene: Scene, padded: NDArray[np.bool_], t_s: float) -> NDArray[np.bool_]:
    """Return the part of a padded mask that is in the field of view, (H, W), after the drift."""
    moved = ndimage.shift(padded.astype(np.float64), scene.drift_px_s * t_s, order=1, mode="nearest")
    return np.asarray(moved[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] > _THERE)


def _join(
    network: nx.Graph,
    number: int,
    paths: Array,
    edges: NDArray[np.intp],
    places: Array,
    shape: tuple[int, int],
) -> None:
    """Add the visible edges to the network; an edge that the border cuts ends there."""
    for path, (first, second) in zip(paths, edges.tolist(), strict=True):
        way = np.concatenate([places[first][None], path, places[second][None]])
        seen = np.all((way >= 0) & (way <= np.array(shape) - 1), axis=1)
        if not seen.any():
            continue
        shown = way[seen]
        ends = [
            (number, node) if inside else (number, node, "border", first, second)
            for node, inside in ((first, seen[0]), (second, seen[-1]))
        ]
        for end, place in zip(ends, (shown[0], shown[-1]), strict=True):
            network.add_node(end, place=place)
        length = float(np.linalg.norm(np.diff(shown, axis=0), axis=1).sum())
        network.add_edge(*ends, length_px=length)
