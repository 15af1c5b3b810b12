"""Photons set aside: a share of each pixel's photons is not shown to a method, and judges its result.

Each photon is kept at random, so both parts are independent. What a method invents from the noise of one part
is not in the other (Krull et al. 2023, arXiv 2307.06607). Both parts show the same instant, so motion has no
influence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.pairs.photon_split import split_photons


@dataclass(frozen=True)
class SetAside:
    """Two parts of a frame's photons."""

    kept: NDArray[np.uint16]
    """(H, W) photon counts: the input of the restoration."""
    truth: NDArray[np.float64]
    """(H, W): the photons set aside, scaled to the counts of those kept."""
    noise: float
    """Variance of the truth's own photon noise, averaged over the frame."""


def set_aside(counts: NDArray[Any], kept_share: float, *, seed: int) -> SetAside:
    """Split a frame of photon counts (H, W) into two parts; the same seed gives the same parts."""
    rng = np.random.default_rng((seed, 0x5E7A51DE))
    kept, other = split_photons(counts.astype(np.int64), kept_share, rng)
    scale = kept_share / (1 - kept_share)
    return SetAside(
        kept.astype(np.uint16), np.asarray(other * scale, np.float64), float(other.mean()) * scale**2
    )
