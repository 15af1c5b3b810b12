"""What detectors and illumination add to an image that no sample causes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.training.audit.conditions import Blemish

Floats = NDArray[np.float64]
Counts = NDArray[np.uint16]

RAMP: Final = (0.2, 1.8)
"""Of the mean background, at one end of the field and at the other."""
VIGNETTED: Final = 0.8
"""Share of the light that is lost in the corners."""
HOT_SHARE: Final = 0.002
HOT_COUNTS: Final = (1.0, 30.0)
"""Counts of a hot pixel in a frame, log-uniform."""
PATTERN: Final = 0.5
"""Standard deviation of the logarithm of a pixel's sensitivity."""
FLICKER: Final = 0.3
"""The same of a row's brightness, anew in each frame."""
AFTER_PULSES: Final = 0.15
"""Chance of a count to cause another one in the next pixel along the fast axis; avalanche photodiodes have
some percent."""


@dataclass(frozen=True, eq=False)
class Blemished:
    """One detector with its blemish: the same in all frames of a movie.

    Parameters
    ----------
    background : ndarray
        (H, W), counts expected without any sample.
    """

    blemish: Blemish
    background: Floats

    def expected(self, light: Floats, rng: np.random.Generator) -> Floats:
        """Return the counts (H, W) that a frame is expected to have; `light` is the sample's, photons."""
        total = light + self.background
        if self.blemish == "row flicker":
            return np.asarray(total * rng.lognormal(0, FLICKER, (len(total), 1)))
        return np.asarray(total)

    def counted(self, counts: Counts, rng: np.random.Generator) -> Counts:
        """Return the counts (H, W) with those that they cause themselves."""
        if self.blemish != "after-pulsing":
            return counts
        pulses, all_counts = counts, counts.astype(np.uint32)
        while pulses.any():
            caused = np.zeros_like(counts)
            caused[:, 1:] = rng.binomial(pulses[:, :-1], AFTER_PULSES)
            all_counts, pulses = all_counts + caused, caused
        return np.minimum(all_counts, np.iinfo(np.uint16).max).astype(np.uint16)


def blemished(blemish: Blemish, background: Floats, rng: np.random.Generator) -> Blemished:
    """Return a detector whose background (H, W), counts, has a blemish drawn for it."""
    return Blemished(blemish, _BACKGROUNDS.get(blemish, _plain)(background, rng))


def _plain(background: Floats, rng: np.random.Generator) -> Floats:
    return background


def _ramp(background: Floats, rng: np.random.Generator) -> Floats:
    y, x = _coordinates(background.shape)
    angle = rng.uniform(0, 2 * np.pi)
    along = (x * np.cos(angle) + y * np.sin(angle)) / (abs(np.cos(angle)) + abs(np.sin(angle)))
    return np.asarray(background * np.interp(along, (-1, 1), RAMP))


def _vignette(background: Floats, rng: np.random.Generator) -> Floats:
    y, x = _coordinates(background.shape)
    return np.asarray(background * (1 - VIGNETTED * (x**2 + y**2) / 2))


def _hot_pixels(background: Floats, rng: np.random.Generator) -> Floats:
    hot = rng.random(background.shape) < HOT_SHARE
    low, high = np.log(HOT_COUNTS)
    return np.asarray(background + hot * np.exp(rng.uniform(low, high, background.shape)))


def _fixed_pattern(background: Floats, rng: np.random.Generator) -> Floats:
    return np.asarray(background * rng.lognormal(0, PATTERN, background.shape))


def _coordinates(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Return rows and columns of the pixels, -1 to 1."""
    y, x = (np.linspace(-1, 1, side) for side in shape)
    return y[:, None], x[None]


_BACKGROUNDS: Final[Mapping[Blemish, Callable[[Floats, np.random.Generator], Floats]]] = {
    "ramp": _ramp,
    "vignette": _vignette,
    "hot pixels": _hot_pixels,
    "fixed pattern": _fixed_pattern,
}
