"""Offset and gain of a detector, estimated from one frame: variance = gain * (mean - offset)."""

from __future__ import annotations

from typing import Final

import numpy as np

from dimstream_models.arithmetic import Array, Float64
from dimstream_models.quality.detector import Detector
from dimstream_models.quality.photon_transfer import (
    BLOCK_PX,
    NORM,
    SECOND_DIFFERENCE,
    BlockNoise,
    along_both_axes,
    bands,
    block_noise,
    of_blocks,
)

CLASSES: Final = 12
"""Number of brightness classes through which the line is fitted."""
ROUNDS: Final = 8
"""Iterations of the fit; each weights the classes by the variance that the last line predicts."""
POISSON: Final = (0.75, 1.3)
"""Range of gain / step in which the values are photon counts times the step."""
SMOOTHED: Final = 0.6
"""Noise between neighbours as a share of that between pixels 2 px apart; below it, pixels share their noise.
"""
DARK: Final = 0.3
"""Share of the blocks, the darkest ones, from which the offset is estimated."""
SHOT: Final = 0.7
"""Photons' share of the dark blocks' noise; from here on there is no read noise."""
RELIABLE: Final = 0.85
"""Share of the variance between blocks that is not noise; below it, read noise flattens the line too much."""
LEAST_OFFSET: Final = 8.0
"""Lowest offset of a detector with less than one unit per photon. Whole numbers with so little noise and a
lower offset are averages, or were smoothed."""
LARGEST_GAIN_ERROR: Final = 0.1
"""Largest relative standard error with which the gain counts as known."""
DIGITS: Final = 3
MIN_GAIN, MAX_GAIN, MAX_OFFSET = 1e-6, 1e6, 1e9


def estimate_detector(values: Array, step: float | None) -> Detector | None:
    """Return offset and gain; None where none fit, or the frame does not contain enough information.

    Parameters
    ----------
    values
        (H, W), detector units.
    step
        Step of the values, from `count_check.step_of`; None when they have none.
    """
    if min(values.shape) < len(SECOND_DIFFERENCE) or float(np.abs(bands(values)).max()) > MAX_OFFSET:
        return None
    noise = block_noise(values)
    classes = noise.classes(CLASSES)
    if not classes or _is_smoothed(values, noise):
        return None
    gain, offset, error = _line(classes)
    if not np.isfinite((gain, offset, error)).all() or not error < LARGEST_GAIN_ERROR * gain:
        return None
    if step is not None and POISSON[0] <= gain / step <= POISSON[1]:
        lowest = float(values.min())  # counts times the step: the offset is a whole number of steps below it
        return _within(Detector(lowest + step * round((offset - lowest) / step), step))
    dark, third = _dark_noise(values, noise)
    if third < SHOT * gain * float(dark.variances.mean()):  # read noise has no third cumulant
        reliability = _reliability(noise)
        if reliability < RELIABLE:
            return None
        gain /= reliability  # noise of the means makes the line flatter (regression dilution)
        offset = float(dark.means.mean()) - max(third, 0.0) / gain**2
    if gain < POISSON[0] and step is not None and offset < LEAST_OFFSET:
        return None
    return _within(Detector(_rounded(offset, gain), _rounded(gain, gain)))


def _dark_noise(values: Array, noise: BlockNoise) -> tuple[BlockNoise, float]:
    """Return the darkest blocks, and the third cumulant of their noise: gain^3 times their photons."""
    darkest = np.argsort(noise.means, kind="stable")[: max(2, int(len(noise.means) * DARK))]
    residual = along_both_axes(bands(values).astype(np.float64), SECOND_DIFFERENCE)
    thirds = of_blocks(residual**3 / NORM)[darkest]  # the weights' cubes sum to the same
    return BlockNoise(noise.means[darkest], noise.variances[darkest]), float(thirds.mean())


def _reliability(noise: BlockNoise) -> float:
    """Share of the variance between blocks that is not the noise of their means."""
    between = float(noise.means.var())
    return 1 - float(noise.variances.mean()) / BLOCK_PX**2 / between if between > 0 else 0.0


def _within(detector: Detector) -> Detector | None:
    fits = MIN_GAIN <= detector.gain <= MAX_GAIN and abs(detector.offset) <= MAX_OFFSET
    return detector if fits else None


def _line(classes: list[BlockNoise]) -> tuple[float, float, float]:
    """Gain, offset and the gain's standard error, from a weighted least-squares line through the classes."""
    means = np.asarray([float(one.means.mean()) for one in classes])
    variances = np.asarray([float(one.variances.mean()) for one in classes])
    size = np.asarray([len(one.means) for one in classes]) * 30.0  # independent pixels of a block
    floor = 1e-3 * float(variances.max()) + 1e-12
    expected = np.maximum(variances, floor)
    slope = intercept = error = float("nan")
    for _ in range(ROUNDS):
        weights = size / (2 * expected**2)
        slope, intercept, error = _weighted_line(means, variances, weights)
        expected = np.maximum(intercept + slope * means, floor)
    return slope, -intercept / slope if slope else float("nan"), error


def _weighted_line(x: Float64, y: Float64, weights: Float64) -> tuple[float, float, float]:
    total = float(weights.sum())
    middle = float((weights * x).sum()) / total
    spread = float((weights * (x - middle) ** 2).sum())
    if spread <= 0:
        return float("nan"), float("nan"), float("inf")
    slope = float((weights * (x - middle) * y).sum()) / spread
    return slope, float((weights * y).sum()) / total - slope * middle, spread**-0.5


def _is_smoothed(values: Array, noise: BlockNoise) -> bool:
    """Whether neighbours share their noise, as in smoothed or interpolated images. Only dark blocks are used,
    which have least structure."""
    sampled = bands(values).astype(np.float64)
    left, here, right = (sampled[:, 1:-1, first:last] for first, last in ((0, -2), (1, -1), (2, None)))
    near, far = of_blocks((here - left) ** 2), of_blocks((right - left) ** 2)
    dark = noise.means <= np.quantile(noise.means, DARK)
    return bool(near[dark].mean() < SMOOTHED * far[dark].mean())


def _rounded(value: float, scale: float) -> float:
    """Round to `DIGITS` digits of `scale`, which is the precision that one frame gives."""
    places = DIGITS - 1 - int(np.floor(np.log10(scale)))
    return float(round(value, places))
