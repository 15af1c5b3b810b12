"""The figures of every frame of a stream, from its first one on: columns that grow, and are bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from dimstream_server.endpoints.http.live.shown_frame import COLUMNS, Row

MOST_ROWS: Final = 65_536
_FIRST_ROWS: Final = 256


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a timeline.

    Parameters
    ----------
    generation : int
        Changes when rows that were given before no longer hold.
    first : int
        Number of the first of these rows.
    every : int
        Of so many frames one has a row.
    columns : dict
        Name to (N,) values: views, which hold until the timeline changes.
    """

    generation: int
    first: int
    every: int
    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["seq"])


class Timeline:
    """The rows of one stream, in the order of its frames.

    When it is full, the worse one of each two frames is kept (`figures.FLAGS`), also of those that follow.

    Parameters
    ----------
    most : int
        Rows that are kept, an even number.
    columns : mapping of str to dtype
        What a row holds; `flag` is among it.
    """

    def __init__(self, most: int = MOST_ROWS, columns: Mapping[str, np.dtype[Any]] = COLUMNS) -> None:
        self._most = most
        self._columns = {name: np.zeros(min(_FIRST_ROWS, most), dtype) for name, dtype in columns.items()}
        self._flag = list(columns).index("flag")
        self._count = 0
        self._generation = 0
        self._every = 1
        self._in_group = 0  # frames of which one, the worst, gets the next row
        self._worst: Row | None = None

    def __len__(self) -> int:
        return self._count

    @classmethod
    def of(
        cls,
        rows: Iterable[Row],
        *,
        generation: int,
        most: int = MOST_ROWS,
        columns: Mapping[str, np.dtype[Any]] = COLUMNS,
    ) -> Self:
        """A timeline of these rows."""
        made = cls(most, columns)
        for row in rows:
            made.append(row)
        made._generation += generation
        return made

    def all_rows(self) -> Iterator[Row]:
        """Its rows, one after the other."""
        columns = [column[: self._count].tolist() for column in self._columns.values()]
        return zip(*columns, strict=True)

    @property
    def generation(self) -> int:
        """Changes when rows that were given before no longer hold."""
        return self._generation

    def append(self, row: Row) -> None:
        """Add the figures of a frame."""
        if self._worst is None or row[self._flag] > self._worst[self._flag]:
            self._worst = row
        self._in_group += 1
        if self._in_group < self._every:
            return
        worst, self._worst, self._in_group = self._worst, None, 0
        self._put(worst)
        if self._count == self._most:
            self._thin()

    def rows(self, first: int) -> Rows:
        """The rows from number `first` on."""
        columns = {name: column[first : self._count] for name, column in self._columns.items()}
        return Rows(self._generation, first, self._every, columns)

    def _put(self, row: Row) -> None:
        if self._count == len(self._columns["seq"]):
            for name, column in self._columns.items():
                self._columns[name] = np.concatenate([column, np.zeros_like(column)])
        for column, value in zip(self._columns.values(), row, strict=True):
            column[self._count] = value
        self._count += 1

    def _thin(self) -> None:
        flags = self._columns["flag"]
        kept = np.arange(0, self._count, 2)
        kept += flags[1::2] > flags[::2]
        for column in self._columns.values():
            column[: len(kept)] = column[kept]
        self._count = len(kept)
        self._every *= 2
        self._generation += 1
