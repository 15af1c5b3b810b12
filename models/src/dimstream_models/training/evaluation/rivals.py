"""The best tuned filter for each judged pair: tuned on pairs that are not the judged one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.evaluation.filters import (
    TUNED_ON,
    TUNING_PX,
    Example,
    TunedFilter,
    evenly,
    tune_filters,
)
from dimstream_models.training.pairs.opening import Pair, read_pairs
from dimstream_models.training.pairs.prepared import Prepared, Role, is_prepared, read_prepared


@dataclass(frozen=True)
class Rivals:
    """Best filters of two halves of the pairs; the same one twice where others than the judged ones tuned it.

    Parameters
    ----------
    tuned_on : str
        In words.
    """

    even: TunedFilter
    odd: TunedFilter
    tuned_on: str

    def of(self, index: int) -> TunedFilter:
        """Return the filter for the pair of that number."""
        return self.odd if index % 2 else self.even

    def __str__(self) -> str:
        return " and ".join(dict.fromkeys(map(str, (self.even, self.odd))))


def tune_rivals(pairs: Path, role: Role) -> Rivals | None:
    """Return the best filters for the pairs that are judged, None where none of them has a truth.

    Of a prepared folder they are tuned on the training fields (on the validation fields where the training
    fields are judged); other pairs have no roles, so those of even number are tuned on the odd ones.

    Parameters
    ----------
    pairs, role
        As `read_pairs` takes them.
    """
    if is_prepared(pairs):
        prepared = read_prepared(pairs)
        other: Role = "validation" if role == "training" else "training"
        if examples := _of_role(prepared, other):
            best = tune_filters(examples)[0]
            return Rivals(best, best, f"{other} fields")
    even, odd = _sampled(read_pairs(pairs, role=role))
    if not even:
        return None
    of_even = tune_filters(odd or even)[0]
    if not odd:
        return Rivals(of_even, of_even, "the judged pair itself, as there is one only, which flatters it")
    return Rivals(of_even, tune_filters(even)[0], "the other half of the pairs")


def _of_role(prepared: Prepared, role: Role) -> list[Example]:
    fields = [field for field in prepared.of(role) if field.has_high]
    few = [fields[index] for index in evenly(len(fields))]
    prepared.check(few)
    opened = (prepared.open(field) for field in few)
    return [(low, high) for low, high in opened if high is not None]


def _sampled(pairs: Iterable[Pair]) -> tuple[list[Example], list[Example]]:
    """Return some pairs of even and of odd number, evenly spread, whatever their number."""
    halves: tuple[list[Example], list[Example]] = ([], [])
    every = [1, 1]
    for index, pair in enumerate(pairs):
        half, place = index % 2, index // 2
        if pair.high is None or not np.ptp(pair.high) or place % every[half]:
            continue
        halves[half].append((_middle(pair.low), _middle(pair.high)))
        if len(halves[half]) > 2 * TUNED_ON:
            halves[half][:] = halves[half][::2]
            every[half] *= 2
    even, odd = (list(_few(half)) for half in halves)
    return even, odd


def _few(examples: list[Example]) -> Iterator[Example]:
    yield from (examples[index] for index in evenly(len(examples)))


def _middle(image: NDArray[np.generic]) -> NDArray[np.generic]:
    window = tuple(slice(max(0, (side - TUNING_PX) // 2), (side + TUNING_PX) // 2) for side in image.shape)
    return image[window].copy()
