"""Which images show the same field of view, so that no network is evaluated on a field of its training.

Frames of a movie, planes of a z-stack and repeats of one place must all have the same role. Otherwise the
network would be evaluated on a place that it saw in training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components

ALIKE: Final = 0.4  # correlation of sketches at which two images show the same place
"""Measured: below 0.15 for independent fields (simulated ER, 74 ER patches of 256 px), and below 0.28 for
different labels of one field; 0.68 to 0.99 for neighbouring frames of four STED movies, and of simulated
movies at 0.14 photons per pixel."""
WIDTHS_PX: Final = (
    4.0,
    16.0,
)  # structure between these sizes is kept: larger than noise, smaller than uneven illumination
EVERY_PX: Final = 6
BLOCK: Final = 512  # rows of the table of correlations that are in memory at once

Sketch = NDArray[np.float32]  # (n,), of unit length


def sketch(image: NDArray[Any]) -> Sketch:
    """Return the coarse structure of counts (H, W) as a unit vector (N,), without brightness and noise."""
    stabilised = np.sqrt(ndimage.gaussian_filter(image.astype(float), 1) + 3 / 8)
    narrow, wide = (ndimage.gaussian_filter(stabilised, width) for width in WIDTHS_PX)
    coarse = (narrow - wide)[EVERY_PX // 2 :: EVERY_PX, EVERY_PX // 2 :: EVERY_PX].ravel()
    coarse -= coarse.mean()
    return np.asarray(coarse / max(float(np.linalg.norm(coarse)), 1e-12), np.float32)


def look_alike(sketches: Sequence[Sketch]) -> Iterator[tuple[int, int]]:
    """Yield the indices of every two images that show the same place, by their sketches, each (N,).

    Images of different size never do.
    """
    by_size = defaultdict(list)
    for index, each in enumerate(sketches):
        by_size[each.size].append(index)
    for members in by_size.values():
        table = np.stack([sketches[index] for index in members])
        for start in range(0, len(members), BLOCK):
            alike = np.triu(table[start : start + BLOCK] @ table.T > ALIKE, k=start + 1)
            yield from ((members[start + row], members[column]) for row, column in np.argwhere(alike))


def connect(number: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """Return the group of each of `number` images, given the pairs that belong together."""
    ends = np.array(list(links), dtype=int).reshape(-1, 2)
    graph = sparse.coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(number, number))
    return [int(group) for group in connected_components(graph, directed=False)[1]]
