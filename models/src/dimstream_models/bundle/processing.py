"""The processing steps that a bundle may declare around its network, as data and in numpy.

The steps are those of BioImage.IO. The fused graph and the training package must equal `apply_steps`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dimstream_models.arithmetic import Array

StepDtype = Literal["float32", "float64", "uint8", "uint16"]


@dataclass(frozen=True, slots=True)
class EnsureDtype:
    """Cast to a type. For an integer type, fractions are truncated and values clipped to the type's range."""

    dtype: StepDtype

    def apply(self, values: Array) -> Array:
        """Return values (..., H, W), in any unit, in the step's type; clipped to its range if it is an
        integer type."""
        wanted = np.dtype(self.dtype)
        if wanted.kind == "u" and values.dtype != wanted:
            limits = np.iinfo(wanted)
            values = np.clip(values, limits.min, limits.max)
        return values.astype(wanted)


@dataclass(frozen=True, slots=True)
class ScaleLinear:
    """``gain * values + offset``."""

    gain: float
    offset: float

    def apply(self, values: Array) -> Array:
        """Return values (..., H, W) times gain plus offset, in the offset's unit; floats keep their width."""
        return _as_float(values) * self.gain + self.offset


@dataclass(frozen=True, slots=True)
class Clip:
    """Values clipped to `minimum` and `maximum`; None: no bound on that side."""

    minimum: float | None
    maximum: float | None

    def apply(self, values: Array) -> Array:
        """Return values (..., H, W), clipped; the bounds are in their unit."""
        return np.clip(values, self.minimum, self.maximum)


@dataclass(frozen=True, slots=True)
class FixedZeroMeanUnitVariance:
    """``(values - mean) / std`` with fixed numbers."""

    mean: float
    std: float

    def apply(self, values: Array) -> Array:
        """Return values (..., H, W), in standard deviations from the mean; floats keep their width."""
        return (_as_float(values) - self.mean) / self.std


@dataclass(frozen=True, slots=True)
class ZeroMeanUnitVariance:
    """``(values - mean) / (std + eps)`` with the frame's own mean and standard deviation."""

    eps: float

    def apply(self, values: Array) -> Array:
        """Return values (..., H, W), in standard deviations from the mean; floats keep their width."""
        values = _as_float(values)
        mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        return (values - mean) / (std + self.eps)


@dataclass(frozen=True, slots=True)
class ScalePercentiles:
    """``(values - low) / (high - low + eps)`` with two percentiles of the frame."""

    low: float
    high: float
    eps: float

    def apply(self, values: Array) -> Array:
        """Return values (..., H, W), 0 at the lower percentile and 1 at the upper; floats keep their
        width."""
        values = _as_float(values)
        low, high = (float(each) for each in np.percentile(values, (self.low, self.high)))
        return (values - low) / (high - low + self.eps)


Step = EnsureDtype | ScaleLinear | Clip | FixedZeroMeanUnitVariance | ZeroMeanUnitVariance | ScalePercentiles


def apply_steps(steps: Iterable[Step], values: Array) -> Array:
    """Return the values (..., H, W) after all steps, in order.

    Parameters
    ----------
    steps
        `Bundle.preprocessing` or `Bundle.postprocessing`.
    values
        One frame, (..., H, W): counts before the network, the network's own unit after it.
    """
    for step in steps:
        values = step.apply(values)
    return values


def scale_factor(steps: Iterable[Step]) -> float:
    """Factor by which these steps multiply a standard deviation of their input; clipping is ignored."""
    gains = [abs(step.gain) for step in steps if isinstance(step, ScaleLinear)]
    return math.prod(gains)


def _as_float(values: Array) -> Array:
    return values if values.dtype.kind == "f" else values.astype(np.float32)
