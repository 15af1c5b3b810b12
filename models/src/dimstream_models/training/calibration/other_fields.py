"""Pairs of images that show two different fields: the third class, next to the same sample and none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from dimstream_models.arithmetic import Float32

MAX_PAIRS = 400  # as many as a simulated calibration has of each other kind
KEPT = 4  # frames of a movie that are paired with those of others
FEW_MOVIES = 3  # with fewer, mirrored frames stand in for other fields

Pair = tuple[Float32, Float32]


@dataclass
class OtherFields:
    """Some frames of each movie, to be paired with those of the other movies.

    A frame is kept as two images (H, W) that show the same field: twice its prediction, or the predictions
    of both halves of its photons.

    Parameters
    ----------
    one_field : bool
        The movies may show the same field, so mirrored frames alone stand in for others.
    """

    one_field: bool = False
    _movies: list[list[Pair]] = field(default_factory=list)

    def add(self, frames: Sequence[Pair]) -> None:
        """Keep some frames of the next movie, evenly spread."""
        if frames:
            places = np.linspace(0, len(frames) - 1, min(KEPT, len(frames))).round().astype(int)
            self._movies.append([frames[place] for place in places])

    def compare(self, measure: Callable[[Float32, Float32], float]) -> list[float]:
        """Return a measure of at most `MAX_PAIRS` pairs of predictions, (H, W) each, that show two fields."""
        return [measure(first, second) for first, second in islice(self._pairs(), MAX_PAIRS)]

    def _pairs(self) -> Iterator[Pair]:
        """Yield images of two movies, cropped to what both have; of few movies mirrored frames, too."""
        if self.one_field or len(self._movies) < FEW_MOVIES:
            for frames in self._movies:
                for first, second in frames:
                    yield from ((first, turned) for turned in _mirrored(second))
        if self.one_field:
            return
        for distance in range(1, len(self._movies)):
            for one, other in zip(self._movies, self._movies[distance:], strict=False):
                for (first, _), (_, second) in zip(one, other, strict=False):
                    height, width = np.minimum(first.shape, second.shape)
                    yield first[:height, :width], second[:height, :width]


def _mirrored(image: Float32) -> tuple[Float32, Float32, Float32]:
    return image[::-1], image[:, ::-1], image[::-1, ::-1]
