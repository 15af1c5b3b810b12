"""The photons of one frame, split at random into two independent halves.

Each photon goes to one half or the other with probability 1/2. The halves of a Poisson count are independent
Poisson counts. So their noise is independent, and structure that the network invents from noise differs
between both predictions (the idea: Krull et al. 2023, arXiv 2307.06607). If the values are not photon counts,
the halves share their noise and agree on anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from dimstream_models.arithmetic import Array
from dimstream_models.quality.count_check import Doubt, doubt_counts
from dimstream_models.quality.photon_transfer import SECOND_DIFFERENCE

BITS: Final = 64
BETWEEN: Final = 0.75 / 12**0.5
"""Largest root mean square distance from whole numbers; evenly spread values have 1 / sqrt(12)."""


def halve_photons(counts: Array, seed: int) -> tuple[Array, Array]:
    """Return two frames (H, W) whose sum is `counts`; each photon is in the first with probability 1/2.

    Parameters
    ----------
    counts
        (H, W), not negative; rounded to whole numbers, the type is kept.
    seed
        The same seed gives the same halves.
    """
    rng = np.random.default_rng(seed)
    whole = np.rint(counts).astype(np.uint32)
    coins = rng.integers(0, 2**BITS, whole.shape, np.uint64, endpoint=False)
    few = np.minimum(whole, BITS - 1).astype(np.uint64)
    first = np.bitwise_count(coins & ((np.uint64(1) << few) - np.uint64(1))).astype(np.uint32)
    if (many := whole >= BITS).any():
        first[many] = rng.binomial(whole[many], 0.5)
    return first.astype(counts.dtype), (whole - first).astype(counts.dtype)


def no_photons(
    photons: Array, *, converted: bool = False, doubt_of: Callable[[Array], Doubt | None] = doubt_counts
) -> str | None:
    """Return why a frame's photons cannot be split; None when the values may be photon counts.

    Parameters
    ----------
    photons
        (H, W).
    converted
        Whether they were calculated from a detector's values by its offset and gain. Then they must be close
        to whole numbers, and are rounded before the split. If they are not, there is read noise, which both
        halves would share.
    doubt_of
        Function that returns why values are not photon counts. It gets these values or, where they were
        converted, the rounded ones.
    """
    if min(photons.shape) < len(SECOND_DIFFERENCE):
        return f"expected a frame of at least 3 px a side, got {photons.shape}"
    whole = np.rint(photons)
    if converted and float(np.square(photons - whole).mean()) > BETWEEN**2:
        return (
            "after offset and gain the values are not close to whole numbers of photons: this is read "
            "noise, which both halves would share"
        )
    if (doubt := doubt_of(whole if converted else photons)) is not None:
        return str(doubt)
    if not converted and photons.dtype.kind == "f" and (photons != whole).any():
        return "no photon counts: some values lie between whole numbers"
    return None
