"""Batches made ahead: the same ones, in order, no more than agreed."""

import threading
from contextlib import closing
from dataclasses import dataclass, field

import pytest
import torch

from dimstream_models.training.fitting.batches import AHEAD, Batch, batches

CPU = torch.device("cpu")


@dataclass
class CountingSource:
    steps_per_epoch: int = 100
    asked: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def batch(self, step: int) -> Batch:
        if step == 70:
            raise ValueError("broken file")
        self.asked.append(step)
        self.threads.add(threading.get_ident())
        counts = torch.full((1, 1, 2, 2), float(step))
        return Batch(counts, counts)


def test_batches_come_in_order_from_one_other_thread() -> None:
    source = CountingSource()
    found = [float(batch.counts[0, 0, 0, 0]) for batch in batches(source, 5, 25, device=CPU)]
    assert found == list(range(5, 25))
    assert len(source.threads) == 1
    assert threading.get_ident() not in source.threads


def test_no_more_wait_than_agreed() -> None:
    source = CountingSource()
    with closing(batches(source, 0, 60, device=CPU)) as upcoming:
        for taken, _ in zip(range(1, 20), upcoming, strict=False):
            assert len(source.asked) <= taken + AHEAD
    assert len(source.asked) <= 19 + AHEAD + 1


def test_what_goes_wrong_in_the_background_is_raised() -> None:
    with pytest.raises(ValueError, match="broken file"):
        list(batches(CountingSource(), 60, 80, device=CPU))
