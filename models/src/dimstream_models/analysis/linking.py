"""What happens to junctions and gaps from one frame to the next: they continue, appear, vanish, split or
merge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from dimstream_models.analysis.instances import Pieces

Float64 = NDArray[np.float64]
SHARED: Final = 0.3
"""Two gaps are the same when their overlap is at least this share of the smaller one."""
INSIDE: Final = 0.5
"""A gap came from another one, or merged into it, when at least this share of it is inside the other."""


@dataclass(frozen=True)
class Links:
    """Links between the objects of two frames, by their numbers in each frame.

    Parameters
    ----------
    same : tuple of (int, int)
        Number in the frame before, number in this one.
    merged : tuple of int
        Objects of the frame before that ended where another one continues.
    split : tuple of int
        Objects of this frame that began next to one that continues.
    lost : int
        Number of objects of the frame before that ended without merging.
    """

    same: tuple[tuple[int, int], ...] = ()
    merged: tuple[int, ...] = ()
    split: tuple[int, ...] = ()
    lost: int = 0


def link_places(before: Float64, after: Float64, *, reach: float) -> Links:
    """Link positions (n, 2) of one frame to those (m, 2) of the next, each at most once and within `reach`.

    The sum of squared distances is minimal (`scipy.optimize.linear_sum_assignment`); a position without a
    link counts as the distance `reach`. A position that vanishes within reach of one that continues has
    merged with it. One that appears there has split from it.
    """
    squares = ((before[:, None] - after[None]) ** 2).sum(axis=2)  # (n, m)
    near = squares <= reach**2
    rows, columns = linear_sum_assignment(np.where(near, squares - reach**2, 0.0))
    linked = near[rows, columns]
    return _links(rows[linked], columns[linked], near, near)


def link_gaps(before: Pieces, after: Pieces) -> Links:
    """Link the gaps of one frame to those of the next by their overlap.

    The sum of intersection over union is maximal. When half of a gap is inside one that continues, it has
    merged with it if it vanishes, and split from it if it appears.
    """
    size = (len(before) + 1, len(after) + 1)
    pairs = (before.numbers.ravel(), after.numbers.ravel())
    common = sparse.coo_array((np.ones(len(pairs[0])), pairs), shape=size).toarray()[1:, 1:]  # (n, m)
    smaller = np.minimum(before.area_px[:, None], after.area_px[None])
    union = before.area_px[:, None] + after.area_px[None] - common
    may = common >= SHARED * np.maximum(smaller, 1)
    rows, columns = linear_sum_assignment(np.where(may, -common / np.maximum(union, 1), 0.0))
    linked = may[rows, columns]
    into = common >= INSIDE * before.area_px[:, None]
    out_of = common >= INSIDE * after.area_px[None]
    return _links(rows[linked], columns[linked], into, out_of)


def _links(
    rows: NDArray[np.intp], columns: NDArray[np.intp], into: NDArray[np.bool_], out_of: NDArray[np.bool_]
) -> Links:
    ended, begun = np.ones(len(into), bool), np.ones(into.shape[1], bool)
    ended[rows] = begun[columns] = False
    goes_on, went_on = np.zeros(into.shape[1], bool), np.zeros(len(into), bool)
    goes_on[columns] = went_on[rows] = True
    merged = np.flatnonzero(ended & (into & goes_on).any(axis=1))
    split = np.flatnonzero(begun & (out_of & went_on[:, None]).any(axis=0))
    same = tuple(zip(rows.tolist(), columns.tolist(), strict=True))
    lost = int(ended.sum()) - len(merged)
    return Links(same, tuple(merged.tolist()), tuple(split.tolist()), lost)
