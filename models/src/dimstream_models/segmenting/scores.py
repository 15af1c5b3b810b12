"""The accuracy of labels: counts of pixels by true and found class, and figures of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Confusion:
    """Numbers of pixels, (C, C), by true class (rows) and found class; class 0 is background."""

    pixels: NDArray[np.int64]

    @classmethod
    def of(cls, true: NDArray[Any], found: NDArray[Any], classes: int = 3) -> Confusion:
        """Return the counts of two label images (H, W) of whole numbers below `classes`."""
        both = classes * true.astype(np.int64).ravel() + found.astype(np.int64).ravel()
        return cls(np.bincount(both, minlength=classes**2).reshape(classes, classes))

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.pixels + other.pixels)

    @property
    def er_overlap(self) -> float:
        """Intersection over union of all classes except background; nan where both are empty."""
        both = self.pixels[1:, 1:].sum()
        return _share(both, self.pixels.sum() - self.pixels[0, 0])

    @property
    def overlaps(self) -> tuple[float, ...]:
        """Intersection over union of each class; nan where both are empty."""
        either = self.pixels.sum(axis=0) + self.pixels.sum(axis=1) - np.diag(self.pixels)
        return tuple(
            _share(both, all_of_it) for both, all_of_it in zip(np.diag(self.pixels), either, strict=True)
        )

    @property
    def split_accuracy(self) -> float:
        """Balanced accuracy of the classes of the ER among pixels that are ER in both.

        This is the mean, over the classes that occur, of the share that is found correctly; nan if none
        occurs.
        """
        return _mean_share(self.pixels[1:, 1:])

    @property
    def recall(self) -> float:
        """The same over all pixels of the ER; those that were found as background count as wrong."""
        rows = self.pixels[1:]
        return _mean_share(np.concatenate([rows[:, 1:], rows[:, :1]], axis=1))


def _mean_share(rows: NDArray[np.int64]) -> float:
    """Return the mean over rows (C, C) of the diagonal's share of the row."""
    sums = rows.sum(axis=1)
    there = sums > 0
    if not there.any():
        return float("nan")
    return float(np.mean(np.diag(rows)[there] / sums[there]))


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else float("nan")
