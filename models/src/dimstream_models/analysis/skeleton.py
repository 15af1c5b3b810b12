"""The skeleton of tubules as nodes and the paths between them, pixel by pixel.

Pixels are adjacent along sides and corners. A corner counts only if no path along sides connects the same
pixels, so a T has one pixel of degree three. Pixels whose degree is not two are nodes, as are blocks of 2x2.
Adjacent ones are one node, except that an end remains a separate node. A line without such a pixel is a ring,
and gets a node at which its only edge begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from skimage.morphology import skeletonize

from dimstream_models.analysis.labels import Mask

Float64 = NDArray[np.float64]
Pixels = NDArray[np.intp]


@dataclass(frozen=True)
class Path:
    """A path between two nodes of a skeleton.

    Parameters
    ----------
    first, second : int
        The nodes; the same one for a loop.
    places : (n, 2) float
        Pixels (y, x) in order; the first and the last belong to the nodes.
    """

    first: int
    second: int
    places: Float64

    def turned(self) -> Path:
        """Return the same path from its other end."""
        return Path(self.second, self.first, self.places[::-1])


@dataclass(frozen=True)
class Skeleton:
    """Nodes and paths of a skeleton.

    Parameters
    ----------
    nodes : (n, 2) float
        Centre (y, x) of each node, px.
    radius_px : (n,) float
        Largest distance from a pixel of each node to the edge of the mask.
    paths : tuple of Path
    tubule_radius_px : float
        Median distance from the skeleton to the edge of the mask; 0 without a skeleton.
    """

    nodes: Float64
    radius_px: Float64
    paths: tuple[Path, ...]
    tubule_radius_px: float


def skeleton_of(mask: Mask, *, all_corners: bool = False) -> Skeleton:
    """Return the skeleton of a mask (H, W) (Zhang and Suen 1984, doi 10.1145/357994.358023).

    Parameters
    ----------
    all_corners : bool
        Whether pixels are adjacent along every corner, and all adjacent pixels without exactly two neighbours
        are one node, as in sknw. Then nearby junctions become one, and absorb short branches.
    """
    thin = skeletonize(mask)
    radius = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return traced(thin, np.asarray(radius), all_corners=all_corners)


def traced(thin: Mask, radius: Float64, *, all_corners: bool = False) -> Skeleton:
    """Return nodes and paths of lines one pixel wide, (H, W), given their distances to the edge, (H, W)."""
    pixels = np.argwhere(thin)
    if not len(pixels):
        return Skeleton(np.zeros((0, 2)), np.zeros(0), (), 0.0)
    links = _links(thin, pixels, all_corners=all_corners)
    near = [links.indices[start:end] for start, end in zip(links.indptr, links.indptr[1:], strict=False)]
    degree = np.diff(links.indptr)
    if all_corners:
        crowded = is_node = degree != 2
    else:
        crowded = (degree > 2) | _in_blocks(thin)[tuple(pixels.T)]
        is_node = crowded | (degree < 2)
    node_of = _nodes(links, crowded, is_node)
    paths = list(_paths(near, node_of))
    number = int(node_of.max(initial=-1)) + 1
    rings = list(_rings(near, node_of, number, passed=paths))  # marks the rings' first pixels in node_of
    count = int(node_of.max()) + 1
    of_nodes = np.flatnonzero(node_of >= 0)
    size = np.bincount(node_of[of_nodes], minlength=count)
    middles = [np.bincount(node_of[of_nodes], pixels[of_nodes, axis], count) / size for axis in (0, 1)]
    widest = np.zeros(count)
    np.maximum.at(widest, node_of[of_nodes], radius[tuple(pixels[of_nodes].T)])
    ways = [
        Path(int(node_of[way[0]]), int(node_of[way[-1]]), pixels[way].astype(np.float64))
        for way in paths + rings
    ]
    typical = float(np.median(radius[tuple(pixels.T)]))
    return Skeleton(np.stack(middles, axis=1), widest, tuple(ways), typical)


def _links(thin: Mask, pixels: Pixels, *, all_corners: bool) -> sparse.csr_array:
    """Return which pixels are adjacent, (n, n): along sides, and along corners unless sides connect them."""
    number = np.full(np.add(thin.shape, 2), -1, np.intp)
    inner = number[1:-1, 1:-1]
    inner[thin] = np.arange(len(pixels))
    y, x = pixels.T + 1
    pairs = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = number[y + down, x + right]
        linked = other >= 0
        if down and right and not all_corners:
            linked &= (number[y + down, x] < 0) & (number[y, x + right] < 0)
        pairs.append(np.stack([np.flatnonzero(linked), other[linked]]))
    one, two = np.concatenate(pairs, axis=1)
    ones = np.ones(2 * len(one), np.int8)
    shape = (len(pixels), len(pixels))
    return sparse.csr_array((ones, (np.concatenate([one, two]), np.concatenate([two, one]))), shape=shape)


def _nodes(links: sparse.csr_array, crowded: Mask, is_node: Mask) -> Pixels:
    """Return the node of each pixel, (n,); -1 for pixels of paths."""
    within = sparse.diags_array(crowded.astype(np.float64))
    _, cluster = csgraph.connected_components(within @ links @ within, directed=False)
    node_of = np.full(len(is_node), -1, np.intp)
    node_of[is_node] = np.unique(cluster[is_node], return_inverse=True)[1]
    return node_of


def _in_blocks(thin: Mask) -> Mask:
    block = thin[1:, 1:] & thin[:-1, 1:] & thin[1:, :-1] & thin[:-1, :-1]
    within = np.zeros_like(thin)
    for down in (slice(None, -1), slice(1, None)):
        for right in (slice(None, -1), slice(1, None)):
            within[down, right] |= block
    return within


def _paths(near: list[Pixels], node_of: Pixels) -> Iterator[list[int]]:
    """Yield the pixels of each path between nodes once, including the nodes' own pixels."""
    taken: set[tuple[int, int]] = set()
    for start in np.flatnonzero(node_of >= 0).tolist():
        for step in near[start].tolist():
            if (start, step) in taken or node_of[step] == node_of[start]:
                continue
            way = [start, step]
            while node_of[way[-1]] < 0:
                one, two = near[way[-1]].tolist()
                way.append(two if one == way[-2] else one)
            taken.add((way[-1], way[-2]))
            yield way


def _rings(
    near: list[Pixels], node_of: Pixels, number: int, *, passed: list[list[int]]
) -> Iterator[list[int]]:
    """Yield the pixels of each ring without a node, with its first pixel twice; that becomes a node, from
    `number` on."""
    left = set(np.flatnonzero(node_of < 0).tolist()) - {pixel for way in passed for pixel in way}
    while left:
        way = [min(left)]
        node_of[way[0]] = number
        number += 1
        way.append(int(near[way[0]][0]))
        while way[-1] != way[0]:
            one, two = near[way[-1]].tolist()
            way.append(two if one == way[-2] else one)
        left -= set(way)
        yield way
