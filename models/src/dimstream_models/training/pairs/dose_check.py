"""Whether two images of a place are a noisy and a clean one: not copies of each other, and not swapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.quality.photon_transfer import NORM, SECOND_DIFFERENCE, along_both_axes

MORE: Final = 1.25  # ratio of low to high dose's counts at which the low dose clearly has more
CLEARER: Final = 2.0  # ratio of clarities at which an image is clearly the cleaner one
SAME_NOISE: Final = 0.9  # correlation of the finest detail at which the noise is the same
SHARED_NOISE: Final = 0.1  # and at which some of the noise is shared
"""Measured on 22 public pairs: the ratio of high to low dose's clarity is 6.5 to 670; the correlation of the
finest detail is below 0.07, but 0.12 to 0.14 where the truth is a mean of 50 frames that includes the low
dose."""
ROUNDING: Final = 0.6  # largest distance, counts, of a copy in whole numbers from the line that fits it best
ROUNDING_OF_FLOATS: Final = 1e-3  # the same for other copies, standard deviations
FEWEST_VALUES: Final = 4  # fewest pixels that determine a line
PIXELS_TO_A_VALUE: Final = 8  # number at which equal values with equal partners are not chance
SPECKS: Final = 1e-3  # share of the brightest pixels that is ignored
STRUCTURE_PX: Final = 2.0  # Gaussian that keeps structure and removes noise


@dataclass(frozen=True)
class Doses:
    """How the doses of two images of a place compare."""

    mean_low: float
    mean_high: float
    clarity_low: float
    """Ratio of the smoothed image's variance to that of its finest detail, which does not depend on gain and
    offset."""
    clarity_high: float
    shared: float
    """Correlation of both images' finest detail; about 0 for independent noise."""
    copied: bool
    """Whether one image is an exact function of the other: linear, or a look-up table."""

    @property
    def refusal(self) -> str | None:
        """Why the two cannot be used for training; None if they can."""
        means = f"mean {self.mean_low:.4g} at low dose, {self.mean_high:.4g} at high dose"
        if self.copied or self.shared > SAME_NOISE:
            same = "are equal" if self.mean_low == self.mean_high else "are the same image, scaled"
            return (
                f"low and high dose {same} ({means}): they share the same noise, so there is no truth to "
                "learn from; give two separate exposures of the place"
            )
        if self.clarity_low > CLEARER * self.clarity_high > 0:
            return (
                f"low and high dose look swapped: the low dose is the cleaner image, by a factor of"
                f" {self.clarity_low / max(self.clarity_high, 1e-12):.3g} ({means}); exchange the two"
            )
        if self.has_more and self.clarity_high <= CLEARER * self.clarity_low:
            return (
                f"low dose has more counts than the high dose ({means}): exchange the two, or subtract the "
                "camera's offset (--subtract-low, --subtract-high)"
            )
        return None

    @property
    def has_more(self) -> bool:
        """Whether the low dose clearly has more counts."""
        return self.mean_low > MORE * self.mean_high


def compare_doses(low: NDArray[Any], high: NDArray[Any]) -> Doses | None:
    """Return how the doses of two images (H, W) of a place compare; None if one of them shows nothing."""
    first, second = low.astype(np.float64), high.astype(np.float64)
    if not np.ptp(first) or not np.ptp(second):
        return None
    seen = [_without_specks(image) for image in (first, second)]
    details = [along_both_axes(image, SECOND_DIFFERENCE) for image in seen]
    powers = [float(np.square(detail).mean()) for detail in details]
    shared = float((details[0] * details[1]).mean()) / max(float(np.sqrt(powers[0] * powers[1])), 1e-12)
    return Doses(
        mean_low=float(first.mean()),
        mean_high=float(second.mean()),
        clarity_low=_clarity(seen[0], powers[0]),
        clarity_high=_clarity(seen[1], powers[1]),
        shared=shared,
        copied=_copied(first, second),
    )


def _without_specks(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the image (H, W), with the few brightest pixels clipped: hot pixels are not part of the
    sample."""
    return np.minimum(image, np.quantile(image, 1 - SPECKS))


def _clarity(image: NDArray[np.float64], power: float) -> float:
    return float(ndimage.gaussian_filter(image, STRUCTURE_PX).var()) / max(power / NORM, 1e-12)


def _copied(low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
    """Return whether one image is a function of the other: equal, linear except for rounding, or a look-up
    table."""
    if np.array_equal(low, high):
        return True
    numbers = [len(np.unique(image)) for image in (low, high)]
    if min(numbers) < FEWEST_VALUES:
        return False  # a hot pixel in an empty field fits any line
    pairs = len(np.unique(low.ravel() + 1j * high.ravel()))
    by_table = pairs in numbers and pairs * PIXELS_TO_A_VALUE < low.size
    return by_table or _on_a_line(low, high) or _on_a_line(high, low)


def _on_a_line(image: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    centred, values = image - image.mean(), other - other.mean()
    stray = np.abs(values - float(np.vdot(centred, values) / np.vdot(centred, centred)) * centred).max()
    whole = bool((other == np.rint(other)).all())
    return bool(stray <= (ROUNDING if whole else ROUNDING_OF_FLOATS * values.std()))
