"""Pairs of images that show two different fields: the third class, besides the same sample and no sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from dimstream_models.arithmetic import Float32

MAX_PAIRS = 400  # as many pairs as a simulated calibration has of each other kind
KEPT = 4  # frames of a movie that are paired with frames of other movies
FEW_MOVIES = 3  # with fewer movies, mirrored frames are used as other fields

Pair = tuple[Float32, Float32]


@dataclass
class OtherFields:
    """Some frames of each movie, for pairs with frames of other movies.

    A frame is kept as two images (H, W) of the same field: its prediction twice, or the predictions of both
    halves of its photons.

    Parameters
    ----------
    one_field : bool
        The movies may show the same field, so only mirrored frames are used as other fields.
    """

    one_field: bool = False
    _movies: list[list[Pair]] = field(default_factory=list)

    def add(self, frames: Sequence[Pair]) -> None:
        """Keep some evenly spread frames of the next movie."""
        if frames:
            places = np.linspace(0, len(frames) - 1, min(KEPT, len(frames))).round().astype(int)
            self._movies.append([frames[place] for place in places])

    def compare(self, measure: Callable[[Float32, Float32], float]) -> list[float]:
        """Return a measure for at most `MAX_PAIRS` pairs of predictions, each (H, W), that show two different
        fields."""
        return [measure(first, second) for first, second in islice(self._pairs(), MAX_PAIRS)]

    def _pairs(self) -> Iterator[Pair]:
        """Yield images of two movies, cropped to the same size; with few movies, also mirrored frames."""
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
