"""The rows of the live view's timeline: the figures of every frame of a stream so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FLAGS: Final = ("ok", "unjudged", "failed", "suspect")
"""Flags; their index is the number in a row."""


class Timeline:
    """Rows of the timeline, one for each frame; in very long streams one for several frames.

    `columns` has (N,) arrays by name: `seq`, `time`, `plane`, `flag`, `ssim` and others, see
    docs/live-view.md.
    """

    def __init__(self) -> None:
        self.columns: dict[str, npt.NDArray[Any]] = {}
        self.every = 1
        """Number of frames per row."""
        self._generation: int | None = None

    def __len__(self) -> int:
        return len(self.columns.get("seq", ()))

    def take(self, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add the rows of a message `rows`."""
        first = int(header["first"])
        if header["generation"] != self._generation:
            self._generation, self.every, self.columns = header["generation"], int(header["every"]), {}
        empty = np.empty(0)
        self.columns = {
            name: np.concatenate([self.columns.get(name, empty.astype(new.dtype))[:first], new])
            for name, new in arrays.items()
        }

    def of_plane(self, plane: int | None) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the frames of one plane, given by its number; None: of all planes."""
        if plane is None or not len(self):
            return dict(self.columns)
        chosen = self.columns["plane"] == plane
        return {name: column[chosen] for name, column in self.columns.items()}
