"""What is known of every frame of a stream so far: the rows of the live view's timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FLAGS: Final = ("ok", "unjudged", "failed", "suspect")
"""By the number that stands for them in a row."""


class Timeline:
    """Rows, one for each frame; of a very long stream, one for several.

    `columns` has, by name, (N,) arrays as docs/live-view.md lists them: `seq`, `time`, `plane`, `flag`,
    `ssim` and others.
    """

    def __init__(self) -> None:
        self.columns: dict[str, npt.NDArray[Any]] = {}
        self.every = 1
        """Of so many frames one has a row."""
        self._generation: int | None = None

    def __len__(self) -> int:
        return len(self.columns.get("seq", ()))

    def take(self, header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take note of a message `rows`."""
        first = int(header["first"])
        if header["generation"] != self._generation:
            self._generation, self.every, self.columns = header["generation"], int(header["every"]), {}
        empty = np.empty(0)
        self.columns = {
            name: np.concatenate([self.columns.get(name, empty.astype(new.dtype))[:first], new])
            for name, new in arrays.items()
        }

    def of_plane(self, plane: int | None) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the frames of one plane, by its number; None: of all."""
        if plane is None or not len(self):
            return dict(self.columns)
        chosen = self.columns["plane"] == plane
        return {name: column[chosen] for name, column in self.columns.items()}
