"""Photons set aside: a share of each pixel's photons that is never shown, and judges what the rest gives.

Each photon is kept by the toss of a coin, so both parts are independent of each other, and what is invented
from the noise of one is not in the other (Krull et al. 2023, arXiv 2307.06607). Model and filters are shown
the very instant that judges them, so nothing that moves counts against either.
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
    """(H, W) photon counts: what is restored."""
    truth: NDArray[np.float64]
    """(H, W): the photons set aside, in the counts of what was kept."""
    noise: float
    """Variance of the truth's own photon noise, mean over the frame."""


def set_aside(counts: NDArray[Any], kept_share: float, *, seed: int) -> SetAside:
    """Return a frame of photon counts (H, W) in two parts, the same ones for the same seed."""
    rng = np.random.default_rng((seed, 0x5E7A51DE))
    kept, other = split_photons(counts.astype(np.int64), kept_share, rng)
    scale = kept_share / (1 - kept_share)
    return SetAside(
        kept.astype(np.uint16), np.asarray(other * scale, np.float64), float(other.mean()) * scale**2
    )
