"""Messages with rows: of a stream's timeline, and of what an analysis found of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_server.endpoints.http.live.er_rows import ErRows, scaled_column
from dimstream_server.endpoints.http.live.messages import pack
from dimstream_server.endpoints.http.live.timeline import Rows, Timeline

_MOST_ROWS: Final = 16_384  # in one message
_PLACED: Final = ("seq", "plane", "flag")


def timeline_message(stream: str, timeline: Timeline, first: int) -> tuple[bytes, int]:
    """The message with rows of a stream's timeline from number `first` on, and how many they are."""
    rows = timeline.rows(first)
    return _message("rows", stream, rows, list(rows.columns.items()))


def er_message(
    stream: str, found: ErRows, first: int, figures: Sequence[str], pixel_um: float | None
) -> tuple[bytes, int]:
    """The same with figures of the ER, in µm where the side of a pixel is known."""
    rows = found.rows(first)
    columns: list[tuple[str, NDArray[Any]]] = [(name, rows.columns[name]) for name in _PLACED]
    columns += [(name, scaled_column(name, rows.columns[name], pixel_um)) for name in figures]
    return _message("er", stream, rows, columns)


def _message(
    kind: str, stream: str, rows: Rows, columns: Sequence[tuple[str, NDArray[np.generic]]]
) -> tuple[bytes, int]:
    header = {"type": kind, "stream": stream, "first": rows.first, "generation": rows.generation}
    cut = [(name, column[:_MOST_ROWS]) for name, column in columns]
    return pack({**header, "every": rows.every}, cut), min(len(rows), _MOST_ROWS)
