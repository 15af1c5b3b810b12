"""Whether two neighbouring three-way junctions are one crossing, which the thinning split into two.

Where two tubules cross, each continues straight: beyond the overlap, its two halves lie on one line. Where
there really are two junctions, the halves are parallel, as far apart as the junctions.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import networkx as nx
import numpy as np

from dimstream_models.analysis.skeleton import Float64

FROM_RADII: Final = 1.5
TO_RADII: Final = 8.0
"""Part of each branch that determines its direction, as distances from its junction, in radii. It begins
beyond the overlap."""
OFF_LINE: Final = 0.2
"""Largest root-mean-square distance of two halves from their common line, in radii of the tubule."""
LEAST_PX: Final = 0.6
"""The same in pixels, because pixel positions are not more precise."""


def is_crossing(graph: nx.MultiGraph, one: int, two: int) -> bool:
    """Return whether two tubules continue straight through two neighbouring junctions."""
    radius = min(graph.nodes[node]["radius_px"] for node in (one, two))
    branches = [_branches(graph, node, other, radius) for node, other in ((one, two), (two, one))]
    most = max(LEAST_PX, OFF_LINE * radius)
    straight = nx.Graph()
    for (i, first), (j, second) in product(enumerate(branches[0]), enumerate(branches[1])):
        if _off_line(first, second) <= most:
            straight.add_edge((0, i), (1, j))
    return len(nx.max_weight_matching(straight)) >= 2


def _branches(graph: nx.MultiGraph, node: int, other: int, radius: float) -> list[Float64]:
    """Return the pixels, (n, 2), that determine the direction of each branch of a node, except branches to
    `other`."""
    found = []
    for _, end, data in graph.edges(node, data=True):
        if end in (node, other):
            continue
        path = data["path"]
        places = path.places if path.first == node else path.turned().places
        distance = np.linalg.norm(places - graph.nodes[node]["place"], axis=1)
        near = places[(distance >= FROM_RADII * radius) & (distance <= TO_RADII * radius)]
        if len(near) >= 3:
            found.append(near)
    return found


def _off_line(first: Float64, second: Float64) -> float:
    """Return the distance of two halves, (n, 2) and (m, 2), from a common line, px; infinite if they turn
    back."""
    ways = [first[-1] - first[0], second[-1] - second[0]]
    if float(ways[0] @ ways[1]) >= 0:
        return float("inf")
    places = np.concatenate([first, second])
    centred = places - places.mean(axis=0)
    smallest = np.linalg.svd(centred, compute_uv=False)[-1]
    return float(smallest / np.sqrt(len(places)))
