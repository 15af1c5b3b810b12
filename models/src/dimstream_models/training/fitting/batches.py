"""The input of a fit: batches that depend only on the seed and the step, prepared in the background."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

AHEAD = 2  # most waiting batches, which bounds their memory


@dataclass(frozen=True)
class Batch:
    """One step's samples, all (B, 1, y, x) float32."""

    counts: Tensor  # photon counts, the network's input
    truth: Tensor  # the clean image, in its own unit of counts
    counted: Tensor | None = None  # 1 where the loss is calculated, 0 elsewhere; None: everywhere

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; copies from the CPU to a GPU are asynchronous."""
        if self.counts.device == device:
            return self
        return Batch(
            _move(self.counts, device),
            _move(self.truth, device),
            None if self.counted is None else _move(self.counted, device),
        )


class SampleSource(Protocol):
    """An endless source of samples; a step's batch is always the same, in whatever order batches are
    requested."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""

    def batch(self, step: int) -> Batch:
        """Return the batch of one step, counted from 0 over all epochs."""


def batches(
    source: SampleSource, start: int, end: int, *, device: torch.device, ahead: int = AHEAD
) -> Generator[Batch]:
    """Yield the batches of steps `start` to `end` (exclusive); the next ones are prepared meanwhile.

    Only one background thread uses the source, so the source needs no lock; at most `ahead` batches wait.
    """

    def make(step: int) -> Batch:
        return source.batch(step).to(device)

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as maker:
        waiting: deque[Future[Batch]] = deque()
        try:
            for step in range(start, end):
                waiting.append(maker.submit(make, step))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            maker.shutdown(wait=True, cancel_futures=True)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
