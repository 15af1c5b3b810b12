"""Whether the values of a frame are photon counts, and if not, why.

Each rule tests something that photon counts cannot do. All bounds are far from what counting detectors show:
variance/mean is 0.98-1.13 over all pixels of seven STED movies and seven STED images, and 0.77 in the
brightest quarter where an avalanche photodiode's dead time matters. A bound must be missed by three standard
errors. `docs/flags.md` says what cannot be detected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, erfc, sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array
from dimstream_models.quality.detector import Detector
from dimstream_models.quality.detector_estimate import estimate_detector
from dimstream_models.quality.photon_transfer import (
    CLASSES,
    SECOND_DIFFERENCE,
    BlockNoise,
    Dispersion,
    bands,
    block_noise,
)
from dimstream_models.quality.saturation import saturated_share, shares_at_maximum

ACCEPTED: Final = (0.75, 1.3)
"""Range of variance/mean of photon counts. Cameras, averages and images converted for display gave 0.60 and
less, or 2.5 and more."""
LEAST_OF_A_CLASS: Final = 0.6
"""Least variance/mean of photon counts of similar brightness."""
MOST: Final = 1.6
"""Variance/mean above which the values are certainly not photon counts. Between `ACCEPTED` and this, the
cause may be sharp structure everywhere."""
LARGEST_ERROR: Final = 0.1
"""Largest standard error of a class's variance/mean; classes with a larger one are ignored."""
LARGEST_COUNT: Final = 2.0**32
FEWEST_STEPS: Final = 20
"""Fewest pixels above the lowest value from which a step is determined."""
FEWEST_STATED: Final = 3
"""Fewest classes that must show too much noise where the darkest class has less than one count a pixel. In an
empty field, hot pixels alone make one or two such classes."""
MISSING_DARK: Final = 30.0
"""Number of pixels below the frame's lowest value that Poisson noise must predict before an offset is
assumed."""
STEP_TOLERANCE: Final = 0.05
"""Largest distance of a value from a multiple of the step, as a share of the step."""
LARGEST_STEPS: Final = 4096
"""Largest number of steps from the lowest value to the highest; with more, no step is determined."""


@dataclass(frozen=True)
class Doubt:
    """Why values are not photon counts; `str` of it is a sentence for people.

    Parameters
    ----------
    why : str
        What was measured.
    certain : bool
        Whether photon counts cannot look like this.
    detector : Detector or None
        Estimated offset and gain that would convert the values to photons; None when unknown.
    """

    why: str
    certain: bool = True
    detector: Detector | None = None

    def __str__(self) -> str:
        text = f"{'' if self.certain else 'perhaps '}no photon counts: {self.why}"
        if self.detector is None:
            return text
        return f"{text}; they look like offset {self.detector.offset:.6g}, gain {self.detector.gain:.4g}"

    def proposing(self, values: Array, before: Detector | None = None) -> Doubt:
        """Return it with the estimated offset and gain that convert the detector's values to photons, if any.

        Parameters
        ----------
        values
            (H, W), the values in question.
        before
            Offset and gain by which they were converted before; None if they were not.
        """
        found = estimate_detector(values, step_of(values))
        if found is not None and before is not None:
            found = Detector(before.offset + before.gain * found.offset, before.gain * found.gain)
        return replace(self, detector=found)


def doubt_counts(values: Array, *, converted: bool = False) -> Doubt | None:
    """Return why values are not photon counts; None when they may be.

    Parameters
    ----------
    values
        (H, W), as the model gets them.
    converted
        Whether they were calculated from a detector's values by its offset and gain. Then fractions and
        negative values are expected.
    """
    if not converted and (doubt := _kind_of_values(values)) is not None:
        return doubt
    if min(values.shape) < len(SECOND_DIFFERENCE):
        return None
    return _coarse(values) or _noise(values, converted=converted) or _no_dark_pixels(values)


def _kind_of_values(values: Array) -> Doubt | None:
    """Whether single values are fractions, negative or too large to be counts."""
    if values.dtype.kind == "u":
        return None
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0:
        return Doubt(f"values go down to {lowest:g}")
    if highest >= LARGEST_COUNT:
        return Doubt(f"values go up to {highest:g}")
    sampled = bands(values)
    if values.dtype.kind == "f" and (fraction := sampled != np.rint(sampled)).any():
        return Doubt(f"values between whole numbers, such as {sampled[fraction][0]:.4g}")
    return None


def _coarse(values: Array) -> Doubt | None:
    step = step_of(values)
    if step is None or step <= 1 + STEP_TOLERANCE:
        return None
    return Doubt(f"values come in steps of {step:.4g}")


def step_of(values: Array) -> float | None:
    """Return the step between a frame's values; None when there is none, or too few pixels to determine it.

    Parameters
    ----------
    values
        (H, W). The step is 1 for photon counts, and the gain for photon counts times a gain.
    """
    sampled = bands(values)
    lowest = sampled.min()
    if values.dtype.kind != "f":
        if (sampled == int(lowest) + 1).any():
            return 1.0
        above = sampled.astype(np.int64) - int(lowest)
        return float(np.gcd.reduce(np.unique(above))) if (above > 0).sum() >= FEWEST_STEPS else None
    found = np.unique(sampled - lowest)
    if len(found) < 2 or len(found) > LARGEST_STEPS or (sampled > lowest).sum() < FEWEST_STEPS:
        return None
    highest, step = float(found[-1]), float(np.diff(found).min())
    if highest > LARGEST_STEPS * step:
        return None
    step = highest / round(highest / step)
    places = found / step
    return step if float(np.abs(places - np.rint(places)).max()) < STEP_TOLERANCE else None


def _noise(values: Array, *, converted: bool) -> Doubt | None:
    """Whether the noise at each brightness is too weak or too strong for photon counts."""
    noise = block_noise(values)
    classes = _classes(noise)
    thin = _too_little(noise, classes)
    if thin is not None and (saturated := _saturated(values)) is not None:
        without = block_noise(values, left_out=saturated)  # saturated pixels have no noise
        thin = _too_little(without, _classes(without))
    if thin is not None:
        return Doubt(f"variance/mean {thin.ratio:.3g} +-{thin.error:.2g}")
    if converted:
        return None  # read noise adds to the variance of photons
    excess = _too_much(classes)
    if excess is None:
        return None
    return Doubt(f"variance/mean {excess.ratio:.3g} +-{excess.error:.2g}", excess.surely_above(MOST))


def _classes(noise: BlockNoise) -> list[tuple[BlockNoise, Dispersion]]:
    return [(each, each.dispersion()) for each in noise.classes(CLASSES)]


def _too_little(noise: BlockNoise, classes: list[tuple[BlockNoise, Dispersion]]) -> Dispersion | None:
    """Lowest variance/mean where there is less noise than photons have; None where there is enough."""
    whole = noise.dispersion()
    thin = [one for _, one in classes if one.error < LARGEST_ERROR and one.surely_below(LEAST_OF_A_CLASS)]
    if whole.surely_below(ACCEPTED[0]) or thin:
        return min([whole, *thin], key=lambda one: one.ratio)
    return None


def _too_much(classes: list[tuple[BlockNoise, Dispersion]]) -> Dispersion | None:
    """Lowest variance/mean when there is more noise than photons have at every brightness; else None.

    Sharp, bright structure adds to the variance of second differences. So only the class with least counts.
    """
    stated = [one for _, one in classes if one.error < LARGEST_ERROR * one.ratio]
    least = FEWEST_STATED if classes and float(classes[0][0].means.mean()) < 1 else 1
    if len(stated) >= least and all(one.surely_above(ACCEPTED[1]) for one in stated):
        return min(stated, key=lambda one: one.ratio)
    return None


def _saturated(values: Array) -> NDArray[np.bool_] | None:
    at_maximum, near_maximum = shares_at_maximum(values)
    maximum: Any = values.max()
    share = saturated_share(
        maximum=float(maximum), at_maximum=at_maximum, near_maximum=near_maximum, pixels=values.size,
        ceiling=None,
    )  # fmt: skip
    return values == maximum if share else None


def _no_dark_pixels(values: Array) -> Doubt | None:
    """Whether the lowest value is higher than Poisson noise allows: an offset was not subtracted."""
    lowest = float(values.min())
    if lowest < 1:
        return None
    means = block_noise(values).means
    pixels = values.size / len(means)
    expected = pixels * float(_chance_below(lowest, means).sum())
    if expected < MISSING_DARK:
        return None
    return Doubt(f"no pixel is below {lowest:g}, where Poisson noise would give {expected:.0f}")


def _chance_below(value: float, means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each mean (n,) at most the probability of a Poisson count below `value`; exact for small
    values."""
    rates = np.maximum(means, 1e-9)
    term = np.exp(-rates)
    if value > 60:  # far from zero, the normal distribution is close enough
        return np.asarray([erfc((rate - value + 0.5) / sqrt(2 * rate)) / 2 for rate in rates])
    total = term.copy()
    for count in range(1, ceil(value)):
        term = term * rates / count
        total += term
    return total
