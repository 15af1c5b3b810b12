"""The fit of the error bars: quantiles of the error, with correct shares in every bin of dose and structure.

One standard deviation should contain 68.3 % of the true values, and two 95.4 %. The loss is that of quantile
regression (Koenker and Bassett 1978, doi 10.2307/1913643) for both quantiles, on the logarithm of the error.
Two effects make this insufficient: a frame hardly shows some bins (a faint tubule is invisible), and errors
have heavier tails than a normal distribution. So each bin has a parameter that shifts both levels, like a
Lagrange multiplier of a constraint. It moves until both shares miss their levels by the same part of
`TOLERANCES`, in opposite directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from dimstream_models.training.error_bars.network import ErrorBarNetwork
from dimstream_models.training.error_bars.samples import STRUCTURES, Sample

LEVELS: Final = (math.erf(1 / math.sqrt(2)), math.erf(2 / math.sqrt(2)))
"""Shares of a normal distribution within one and two standard deviations."""
TOLERANCES: Final = (0.05, 0.03)
"""The goal: largest difference of a share from its level."""
DOSE_EDGES: Final = (0.3, 1.0, 3.0, 10.0)
"""Edges between the bins of dose, photons per pixel on a structure."""
KINDS: Final = 2
BINS: Final = (len(DOSE_EDGES) + 1) * len(STRUCTURES) * KINDS
_WEIGHTS: Final = (1.0, 2.0)  # weights of both quantiles: the second is determined by few pixels
_LEAST_ERROR: Final = 1e-5  # in the network's unit; smaller errors count as this
_FEWEST: Final = 500  # fewest pixels of a bin in a batch for a change of its levels
_REACH: Final = 3.0  # bound of the levels' log odds around the nominal ones
_PACE: Final = 0.01  # change of the log odds per step and missed tolerance
_MOST_MISSED: Final = 3.0  # most missed tolerances that count in one step
_CLIP: Final = 1.0
_RATE: Final = 3e-3


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Length of a fit."""

    steps: int = 700
    batch: int = 10
    patch_px: int = 96


@dataclass(frozen=True, eq=False)
class _Stack:
    counts: NDArray[np.float32]  # (N, H, W)
    prediction: NDArray[np.float32]
    error: NDArray[np.float32]  # in the network's unit
    bins: NDArray[np.uint8]  # (N, H, W)
    by_dose: NDArray[np.intp]  # (N,), places in the order of the dose

    @classmethod
    def of(cls, samples: Sequence[Sample], gain: float) -> _Stack:
        doses = np.array([sample.exposed.dose for sample in samples])
        return cls(
            np.stack([sample.exposed.counts for sample in samples]),
            np.stack([sample.prediction for sample in samples]),
            np.stack([sample.error for sample in samples]) / np.float32(gain),
            np.stack([_bins(sample) for sample in samples]),
            np.argsort(doses),
        )


def fit_error_bars(
    samples: Sequence[Sample], *, gain: float, scale: float, offset: float, seed: int, effort: Effort
) -> ErrorBarNetwork:
    """Return a network whose deviations contain the errors of the samples as for a normal distribution.

    Parameters
    ----------
    samples : sequence of Sample
        Frames of one size, over all doses and structures.
    gain : float
        Counts per unit of the denoising network's output.
    scale, offset : float
        As in `ErrorBarNetwork`.
    """
    stack, rng = _Stack.of(samples, gain), np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = ErrorBarNetwork(scale=scale, offset=offset)
    moved = torch.zeros(BINS)  # log odds

    def loss() -> Tensor:
        counts, prediction, error, bins = _draw(stack, rng, effort)
        return _loss(network(counts, prediction), error, bins, moved)

    return train(network, loss, effort)


def train(network: ErrorBarNetwork, loss_of: Callable[[], Tensor], effort: Effort) -> ErrorBarNetwork:
    """Return the network after training steps on the losses of `loss_of`."""
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=effort.steps, pct_start=0.1)
    with tqdm(total=effort.steps, desc="error bars", unit="step") as bar:
        for _ in range(effort.steps):
            loss = loss_of()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimiser.step()
            schedule.step()
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}", refresh=False)
            bar.update()
    return network


def _bins(sample: Sample) -> NDArray[np.uint8]:
    dose = int(np.searchsorted(DOSE_EDGES, sample.exposed.dose))
    first = (dose * KINDS + sample.exposed.kind) * len(STRUCTURES)
    return (first + sample.exposed.structure).astype(np.uint8)


def _draw(stack: _Stack, rng: np.random.Generator, effort: Effort) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return patches with uniformly distributed doses, each (B, 1, y, x)."""
    strata = np.array_split(stack.by_dose, effort.batch)
    chosen = [int(rng.choice(stratum)) for stratum in strata if len(stratum)]
    height, width = stack.counts.shape[1:]
    side = min(effort.patch_px, height, width)
    top, left = (int(rng.integers(0, whole - side + 1)) for whole in (height, width))

    def cut(images: NDArray[np.float32] | NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(images[chosen, top : top + side, left : left + side].copy())[:, None]

    return cut(stack.counts), cut(stack.prediction), cut(stack.error), cut(stack.bins).long()


def _loss(deviation: Tensor, error: Tensor, bins: Tensor, moved: Tensor) -> Tensor:
    """Return the mean quantile loss with equal weights of bins, and update the log odds of the levels."""
    number = torch.bincount(bins.ravel(), minlength=BINS).float()
    weight = 1 / number.clamp(min=_FEWEST)[bins]
    weight = weight / weight.sum()
    logarithm = torch.log(error + _LEAST_ERROR)
    total, missing = torch.zeros(()), torch.zeros(BINS)
    for times, (wanted, share, tolerance) in enumerate(zip(LEVELS, _WEIGHTS, TOLERANCES, strict=True), 1):
        above = logarithm - torch.log(times * deviation)
        level = torch.sigmoid(math.log(wanted / (1 - wanted)) + moved)[bins]
        total = total + share * (weight * torch.maximum(level * above, (level - 1) * above)).sum()
        inside = torch.bincount(bins.ravel(), weights=(above <= 0).float().ravel(), minlength=BINS)
        missing += (wanted - inside / number.clamp(min=1)) / tolerance
    moved += _PACE * (number > _FEWEST) * missing.detach().clamp(-_MOST_MISSED, _MOST_MISSED)
    moved.clamp_(-_REACH, _REACH)
    return total
