"""Share of a GPU's peak arithmetic that a training step uses, in float32 and in mixed precision.

The steps are the paper's largest: the published network on its largest patches, six in a step. The published
Keras code does the same arithmetic, so it can be compared by the share of the peak.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from dimstream_models.training.benchmarks.loading import wait
from dimstream_models.training.benchmarks.plan import SEED, Spread, Steps, recipe_of
from dimstream_models.training.fitting.batches import Batch
from dimstream_models.training.fitting.learner import Learner
from dimstream_models.training.settings import Precision

LAPS: Final = 5
LAP_STEPS: Final = 4
MATRIX_SIDE: Final = 8192
MATRIX_PRODUCTS: Final = 10


@dataclass(frozen=True)
class ArithmeticFigures:
    """Steps in one precision compared with products of large matrices, alternating in rounds.

    Parameters
    ----------
    steps_per_s : Spread
        Whole steps: forward, backward, optimiser.
    tflop_per_step : float
        Counted by torch, only convolutions and matrix products.
    tflop_per_s, peak_tflop_per_s : Spread
        Of the steps, and of products of square matrices in the same number format.
    share_of_peak : Spread
        Their ratio within each round.
    """

    steps_per_s: Spread
    tflop_per_step: float
    tflop_per_s: Spread
    peak_tflop_per_s: Spread
    share_of_peak: Spread


def measure_arithmetic(
    steps: Steps, precision: Precision, device: torch.device, *, matrix_side: int = MATRIX_SIDE
) -> ArithmeticFigures:
    """Return the figures of steps in one precision.

    Raises
    ------
    NotAvailable
        When the device does not have the precision.
    OutOfMemory
        When a step does not fit into the device's memory.
    """
    learner = Learner(recipe_of(steps, Path("none"), precision=precision), device=device, dose_ratio=70.0)
    batch = _some_batch(steps, device)
    factor = torch.randn(matrix_side, matrix_side, device=device).to(learner.dtype)
    with FlopCounterMode(display=False) as counter:
        learner.step(batch, 0, 1e-6)
    tflop, product_tflop = counter.get_total_flops() / 1e12, 2 * matrix_side**3 / 1e12
    laps = [
        (
            tflop * _rate(lambda: learner.step(batch, 0, 1e-6), LAP_STEPS, device),
            product_tflop * _rate(lambda: torch.mm(factor, factor), MATRIX_PRODUCTS, device),
        )
        for _ in range(LAPS)
    ]
    return ArithmeticFigures(
        steps_per_s=Spread.of([ours / tflop for ours, _ in laps]),
        tflop_per_step=tflop,
        tflop_per_s=Spread.of([ours for ours, _ in laps]),
        peak_tflop_per_s=Spread.of([peak for _, peak in laps]),
        share_of_peak=Spread.of([ours / peak for ours, peak in laps]),
    )


def _some_batch(steps: Steps, device: torch.device) -> Batch:
    shape = (steps.batch, 1, steps.patch_px, steps.patch_px)
    counts = torch.poisson(torch.full(shape, 2.0), generator=torch.Generator().manual_seed(SEED))
    return Batch(counts, 70 * counts).to(device)


def _rate(run: Callable[[], object], times: int, device: torch.device) -> float:
    """Return runs per second, after one run that is not timed."""
    with _matrices_as_convolutions():
        run()
        wait(device)
        start = time.perf_counter()
        for _ in range(times):
            run()
        wait(device)
        return times / (time.perf_counter() - start)


@contextmanager
def _matrices_as_convolutions() -> Iterator[None]:
    """Let products of float32 matrices round like convolutions, because torch by default uses TF32 only for
    these."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if torch.backends.cudnn.allow_tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
