"""The photons of one frame, split into two halves that know nothing of each other.

Each photon goes to one half or the other by a coin of its own. The halves of a Poisson count are
independent Poisson counts, so what a network makes of both is agreed on by independent noise, or it is not
(the idea: Krull et al. 2023, arXiv 2307.06607). On values that are no photon counts the halves would share
their noise and agree on anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array, Float64

ACCEPTED: Final = (0.75, 1.3)
"""Variance over mean of photon counts. Measured on avalanche photodiodes: 0.98-1.13 over all pixels of
five STED movies and seven STED images; cameras, averages and copies for display gave 0.60 and less, or 2.5
and more."""
LEAST_OF_A_CLASS: Final = 0.6
"""Variance over mean of photon counts of similar brightness; 0.86 where an avalanche photodiode's dead
time sets in."""
CERTAIN: Final = 3.0
"""Standard errors by which a bound must be missed."""
SECOND_DIFFERENCE: Final = (1.0, -2.0, 1.0)
NORM: Final = 36.0
"""Sum of the squares of the second difference along both axes."""
SPECK: Final = 20.0
SPECK_COUNTS: Final = 5.0
"""Brighter than so many times the frame's mean and so many counts is a speck or a hot pixel."""
BLOCK_PX: Final = 8
CLASSES: Final = 4
FEWEST_BLOCKS: Final = 8
"""In a class; a frame with fewer is one class."""
LARGEST_ERROR: Final = 0.1
"""Standard error of a class, of its ratio, from which nothing follows."""
BITS: Final = 64


def split_photons(counts: Array, seed: int) -> tuple[Array, Array]:
    """Two frames that add up to `counts`; each photon is in the first with chance 1/2, by its own coin.

    Parameters
    ----------
    counts
        (H, W), whole and not negative; its type is kept.
    seed
        The same halves come for the same seed.
    """
    rng = np.random.default_rng(seed)
    whole = counts.astype(np.uint32)
    coins = rng.integers(0, 2**BITS, whole.shape, np.uint64, endpoint=False)
    few = np.minimum(whole, BITS - 1).astype(np.uint64)
    first = np.bitwise_count(coins & ((np.uint64(1) << few) - np.uint64(1))).astype(np.uint32)
    if (many := whole >= BITS).any():
        first[many] = rng.binomial(whole[many], 0.5)
    return first.astype(counts.dtype), (whole - first).astype(counts.dtype)


def no_photons(counts: Array) -> str | None:
    """Why a frame's photons cannot be split; None when nothing speaks against photon counts.

    Parameters
    ----------
    counts
        (H, W), raw.
    """
    if counts.dtype.kind == "f" and (fraction := counts != np.rint(counts)).any():
        found = counts[fraction][0]
        return f"expected whole photon counts, got {found:g}: averages and rescaled images hold none"
    if counts.min() < 0:
        return f"expected photon counts from 0 on, got {counts.min():g}"
    if counts.max() >= 2**32:
        return f"expected photon counts, got {counts.max():g}"
    if min(counts.shape) < len(SECOND_DIFFERENCE):
        return f"expected a frame of at least 3 px a side, got {counts.shape}"
    whole, *classes = _dispersions(counts.astype(np.float64))
    thin = [one for one in classes if one.error < LARGEST_ERROR and one.surely_below(LEAST_OF_A_CLASS)]
    if whole.surely_below(ACCEPTED[0]) or thin:
        return _no_poisson(min([whole, *thin], key=lambda one: one.ratio))
    told = [one for one in classes if one.error < LARGEST_ERROR * one.ratio]
    if told and all(one.surely_above(ACCEPTED[1]) for one in told):
        return _no_poisson(min(told, key=lambda one: one.ratio))
    return None


@dataclass(frozen=True)
class _Dispersion:
    """Variance over mean, and its standard error."""

    ratio: float
    error: float

    def surely_below(self, bound: float) -> bool:
        return self.ratio + CERTAIN * self.error < bound

    def surely_above(self, bound: float) -> bool:
        return self.ratio - CERTAIN * self.error > bound


def _no_poisson(found: _Dispersion) -> str:
    return (
        f"expected photon counts, whose variance is their mean; got variance/mean {found.ratio:.3g} +-"
        f" {found.error:.2g}: camera values, averages and copies for display cannot be split; send the raw"
        " counts of a counting detector, less any constant that the file adds"
    )


def _dispersions(counts: Float64) -> list[_Dispersion]:
    """Of the whole frame, then of its blocks from dark to bright in `CLASSES` classes.

    Second differences see sharp, bright structure as variance, so where there is structure only the
    flattest class tells too much of it; too little of it is told by all together. Hot pixels, which would
    decide alone, are left out.
    """
    speck = counts > SPECK * counts.mean() + SPECK_COUNTS
    ordinary = along_both_axes(speck.astype(np.float64), (1.0, 1.0, 1.0)) == 0
    weights = [weight**2 for weight in SECOND_DIFFERENCE]
    variance = along_both_axes(counts, SECOND_DIFFERENCE) ** 2 / NORM * ordinary
    mean = along_both_axes(counts, weights) / NORM * ordinary
    variances, means = _of_blocks(variance), _of_blocks(mean)
    order = np.argsort(means, kind="stable")
    parts = np.array_split(order, CLASSES) if len(order) >= CLASSES * FEWEST_BLOCKS else []
    return [_dispersion(variances[part], means[part]) for part in (order, *parts)]


def _of_blocks(values: Float64) -> Float64:
    """(n,): sums over the blocks of `BLOCK_PX` px; of a smaller frame over all of it."""
    height, width = (side - side % BLOCK_PX for side in values.shape)
    if not height or not width:
        return np.asarray([values.sum()])
    blocks = values[:height, :width].reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
    return np.asarray(blocks.sum(axis=(1, 3))).ravel()


def _dispersion(variances: Float64, means: Float64) -> _Dispersion:
    """Ratio of the sums over blocks and its standard error from how the blocks scatter."""
    total = float(means.sum())
    if total <= 0 or len(means) < 2:
        return _Dispersion(1.0, np.inf)
    ratio = float(variances.sum()) / total
    scatter = float(((variances - ratio * means) ** 2).sum()) * len(means) / (len(means) - 1)
    return _Dispersion(ratio, float(np.sqrt(scatter)) / total)


def along_both_axes(image: Float64, weights: tuple[float, ...] | list[float]) -> NDArray[np.float64]:
    """Each inner pixel and its neighbours before and after, weighed along one axis, then along the other."""
    before, here, after = weights
    rows = before * image[:-2] + here * image[1:-1] + after * image[2:]
    return np.asarray(before * rows[:, :-2] + here * rows[:, 1:-1] + after * rows[:, 2:])
