"""What an analysis has found of the frames of a stream, as far as it had time for them: rows, bounded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.er_figures import FIGURES
from dimstream_server.endpoints.http.live.shown_frame import FLAGS, Row
from dimstream_server.endpoints.http.live.timeline import Rows, Timeline
from dimstream_server.recording import AnalysedFrame

MOST_ROWS: Final = 16_384
"""Of one stream; each takes 260 bytes."""
_COLUMNS: Final[dict[str, np.dtype[Any]]] = {
    "seq": np.dtype("<f8"),
    "plane": np.dtype("<u2"),
    "flag": np.dtype("<u1"),
    **dict.fromkeys(FIGURES, np.dtype("<f4")),
}


@dataclass(frozen=True, slots=True)
class LastAnalysed:
    """The frame that was analysed last.

    Parameters
    ----------
    found_at : float
        When its figures came, seconds since 1970.
    analysis : str
        By what it was analysed.
    """

    seq: int
    found_at: float
    analysis: str


class ErRows:
    """The ER's figures of one stream, in the order in which they came, which is that of each plane's frames.

    When there are too many rows, one of each two is kept, the one with the worse flag.
    """

    def __init__(self, most: int = MOST_ROWS) -> None:
        self._most = most
        self._rows = Timeline(most, _COLUMNS)
        self._newest: dict[int, int] = {}  # frame, by the place of its plane
        self.count = 0
        self.last: LastAnalysed | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def generation(self) -> int:
        """Changes when rows that were given before no longer hold."""
        return self._rows.generation

    @property
    def first_seq(self) -> int | None:
        """The first frame that has a row."""
        return int(self._rows.rows(0).columns["seq"][0]) if len(self._rows) else None

    def newest(self, plane: int) -> int:
        """The newest frame of a plane, by its place, that was analysed; -1: none was."""
        return self._newest.get(plane, -1)

    def add(self, found: AnalysedFrame, plane: int) -> None:
        """Add the figures of a frame, which is newer than all of its plane."""
        self._rows.append(_row(found, plane))
        self._newest[plane] = found.seq
        self.count += 1
        self.last = _last(found)

    def put_before(self, earlier: Sequence[tuple[AnalysedFrame, int]]) -> None:
        """Put frames before those that came since the server was started, each with its plane's place."""
        if not earlier:
            return
        rows = [*(_row(found, plane) for found, plane in earlier), *self._rows.all_rows()]
        generation = self._rows.generation + 1
        self._rows = Timeline.of(rows, generation=generation, most=self._most, columns=_COLUMNS)
        for found, plane in earlier:
            self._newest[plane] = max(found.seq, self.newest(plane))
        self.count += len(earlier)
        self.last = self.last or _last(earlier[-1][0])

    def rows(self, first: int) -> Rows:
        """The rows from number `first` on, figures in px."""
        return self._rows.rows(first)


def scaled_column(name: str, values: NDArray[Any], pixel_um: float | None) -> NDArray[np.float32]:
    """A column of figures in px, (N,), in µm where the side of a pixel is known."""
    return (values * FIGURES[name].factor(pixel_um)).astype(np.float32)


def _last(found: AnalysedFrame) -> LastAnalysed:
    return LastAnalysed(found.seq, found.found_at, found.analysis)


def _row(found: AnalysedFrame, plane: int) -> Row:
    return (found.seq, plane, FLAGS.index(found.flag), *_values(found.figures))


def _values(figures: Mapping[str, float | None]) -> Iterable[float]:
    for name in FIGURES:
        value = figures.get(name)
        yield math.nan if value is None else value
