"""Assign pages to the planes of a hyperstack; frames can come in any order, with gaps and repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dimstream_client.messages import PlaneIndex

ORDERS: Final = ("XYCZT", "XYZCT", "XYZTC", "XYCTZ", "XYTCZ", "XYTZC")
"""Dimension orders of OME, the fastest axis first; the order of most microscopes is first."""
_MOST_HOLES: Final = 10_000
_HOLES_PER_FRAME: Final = 10

Place = tuple[int, int, int]
"""(t, c, z)"""


class PlacedPage(NamedTuple):
    """Data of one page.

    Parameters
    ----------
    seq, at : int and PlaneIndex, or None
        Number and index of the frame; None for a page without a line.
    has_image : bool
        Whether the frame was denoised; else its page has zeros.
    """

    page: int
    seq: int | None
    at: PlaneIndex | None
    t_acq: float | None
    has_image: bool


@dataclass(frozen=True)
class Series:
    """One position.

    Parameters
    ----------
    planes : dict
        Page of each plane, by (t, c, z).
    first_page : int or None
        First page, if all planes exist and are consecutive in the order of the hyperstack.
    """

    position: int
    planes: dict[Place, PlacedPage]
    first_page: int | None


@dataclass(frozen=True)
class Hyperstack:
    """Arrangement of the pages of a file as one or several hyperstacks.

    Parameters
    ----------
    sizes : tuple of int
        (T, C, Z) of each series.
    order : str
        One of `ORDERS`: the order of the pages, if they have one.
    holes : bool
        Whether planes are missing, which are replaced by a page of zeros.
    as_movie : bool
        Whether pages are shown in the order of arrival, because there are far more gaps than frames.
    without_place : tuple of int
        Pages that are not used: a later page has the same index, or their index is unknown.
    """

    sizes: tuple[int, int, int]
    order: str
    series: tuple[Series, ...]
    holes: bool
    as_movie: bool
    without_place: tuple[int, ...]

    def places(self, order: str) -> list[Place]:
        """Return every (t, c, z), the first axis of `order` varying fastest."""
        return places(self.sizes, order)


def arrange(pages: Sequence[PlacedPage]) -> Hyperstack:
    """Return the arrangement of these pages."""
    listed = [each for each in pages if each.at is not None]
    last = {_where(each.at): each for each in listed if each.at is not None}
    sizes, positions = _extent(list(last))
    wanted = sizes[0] * sizes[1] * sizes[2] * len(positions)
    as_movie = wanted - len(last) > max(_MOST_HOLES, _HOLES_PER_FRAME * len(last))
    never_stated = len(listed) > 1 and all(each.at == PlaneIndex() for each in listed)
    if as_movie or never_stated:
        last = {(0, n, 0, 0): each for n, each in enumerate(pages)}
        sizes, positions = (len(pages), 1, 1), [0]
        wanted = len(pages)
    order = _order(list(last.values()), as_movie=as_movie or never_stated)
    shown = {each.page for each in last.values()}
    return Hyperstack(
        sizes=sizes,
        order=order,
        series=tuple(_series(p, last, sizes, order) for p in positions),
        holes=len(last) < wanted,
        as_movie=as_movie,
        without_place=tuple(each.page for each in pages if each.page not in shown),
    )


def places(sizes: tuple[int, int, int], order: str) -> list[Place]:
    """Return every (t, c, z), the first axis of `order` varying fastest."""
    lengths = dict(zip("TCZ", sizes))
    slow, middle, fast = reversed(order[2:])
    return [
        (at["T"], at["C"], at["Z"])
        for i in range(lengths[slow])
        for j in range(lengths[middle])
        for k in range(lengths[fast])
        for at in ({slow: i, middle: j, fast: k},)
    ]


def _where(index: PlaneIndex) -> tuple[int, int, int, int]:
    return index.p, index.t, index.c, index.z


def _extent(indexes: list[tuple[int, int, int, int]]) -> tuple[tuple[int, int, int], list[int]]:
    if not indexes:
        return (0, 1, 1), [0]
    t, c, z = (max(index[axis] for index in indexes) + 1 for axis in (1, 2, 3))
    return (t, c, z), sorted({index[0] for index in indexes})


def _order(shown: list[PlacedPage], *, as_movie: bool) -> str:
    """Return the first of `ORDERS` in which the pages of each position ascend; else the first one."""
    if as_movie:
        return ORDERS[0]
    by_page = sorted(shown)
    for order in ORDERS:
        if _ascends(by_page, order):
            return order
    return ORDERS[0]


def _ascends(by_page: list[PlacedPage], order: str) -> bool:
    axes = order[:1:-1].lower()  # slowest first
    before: dict[int, tuple[int, ...]] = {}
    for each in by_page:
        if each.at is None:
            continue
        place = tuple(getattr(each.at, axis) for axis in axes)
        if place <= before.get(each.at.p, (-1,)):
            return False
        before[each.at.p] = place
    return True


def _series(
    position: int,
    last: dict[tuple[int, int, int, int], PlacedPage],
    sizes: tuple[int, int, int],
    order: str,
) -> Series:
    planes = {where[1:]: each for where, each in last.items() if where[0] == position}
    first_page: int | None = None
    if planes and len(planes) == sizes[0] * sizes[1] * sizes[2]:
        pages = [planes[place].page for place in places(sizes, order)]
        if pages == list(range(pages[0], pages[0] + len(pages))):
            first_page = pages[0]
    return Series(position, planes, first_page)
