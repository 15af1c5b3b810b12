"""The photons of one frame, split into two halves that know nothing of each other.

Each photon goes to one half or the other by a coin of its own. The halves of a Poisson count are
independent Poisson counts, so what a network makes of both is agreed on by independent noise, or it is not
(the idea: Krull et al. 2023, arXiv 2307.06607). On values that are no photon counts the halves would share
their noise and agree on anything.
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
"""Root mean square distance from whole numbers; values that lie anywhere have 1 / sqrt(12)."""


def halve_photons(counts: Array, seed: int) -> tuple[Array, Array]:
    """Two frames that add up to `counts`; each photon is in the first with chance 1/2, by its own coin.

    Parameters
    ----------
    counts
        (H, W), not negative, taken to the next whole number; its type is kept.
    seed
        The same halves come for the same seed.
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
    """Return why a frame's photons cannot be split; None when nothing speaks against photon counts.

    Parameters
    ----------
    photons
        (H, W).
    converted
        Whether they were made of a detector's values by its offset and gain. Then they are split once they
        are rounded, where they come close to whole numbers: by rounding none of them moves. Where read noise
        lies between them, both halves would share it.
    doubt_of
        Asked what speaks against photon counts, of these values or, where they were converted, the whole
        numbers next to them.
    """
    if min(photons.shape) < len(SECOND_DIFFERENCE):
        return f"expected a frame of at least 3 px a side, got {photons.shape}"
    whole = np.rint(photons)
    if converted and float(np.square(photons - whole).mean()) > BETWEEN**2:
        return (
            "after offset and gain the values lie anywhere between whole numbers of photons: this is read"
            " noise, which both halves would share"
        )
    if (doubt := doubt_of(whole if converted else photons)) is not None:
        return str(doubt)
    if not converted and photons.dtype.kind == "f" and (photons != whole).any():
        return "no photon counts: some values lie between whole numbers"
    return None
