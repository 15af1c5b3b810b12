"""Where a prediction stands on photons: the paper's classes, the structure that is predicted, and both
together.

Source of the classes: the paper's Methods, "Quality control metrics": counts in a sliding 10x10 window
class a pixel as background, uncertain or signal. Their thresholds are numbers of photons, so a brighter
background would make signal of everything; what a window must exceed is therefore also measured on each
frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array, Float64, window_sums

BACKGROUND, UNCERTAIN, SIGNAL = 0, 1, 2
CLASS: Final = 0b0011
PREDICTED: Final = 0b0100
UNSUPPORTED: Final = 0b1000
"""Bits of a support map."""

STRIDE_PX: Final = 5
"""Windows are looked at in steps of this, for the background's level."""
DARKEST: Final = 0.02
"""Share of the windows that are surely background, where there is any."""
ABOVE_DARKEST: Final = 1.03
"""From the quantile `DARKEST` of Poisson sums to their middle, in square roots of counts (whose deviation
is 1/2)."""
BACKGROUND_REACH: Final = 1.4
"""How far background reaches over its middle: 2.8 standard deviations, in square roots of counts."""


DISAGREE: Final = 0.3
"""SSIM of a window of both halves' predictions, below which they show different things there."""


@dataclass(frozen=True)
class Support:
    """How much of a frame's predicted signal stands on photons.

    Parameters
    ----------
    classes
        (H, W) uint8, the bits `CLASS`, `PREDICTED` and `UNSUPPORTED` of each pixel.
    unsupported
        Share of the predicted signal on pixels that are unsupported; 0 when none is predicted.
    reach
        Window sum that this frame's own background reaches, counts.
    """

    classes: NDArray[np.uint8]
    unsupported_fraction: float
    reach: float


def support(
    counts: Array, prediction: Array, window: int, background_max: float, signal_min: float
) -> Support:
    """Support of a prediction by the raw frame that it was made from.

    Predicted signal is how far the prediction rises above its mean by more than its mean absolute
    deviation; it is unsupported where the window around holds at most `signal_min` photons, or no more
    than background does in this frame.

    Parameters
    ----------
    counts
        (H, W), photon counts.
    prediction
        (H, W), the network's output, before rescaling.
    window, background_max, signal_min
        As in `arithmetic.signal_fractions`.
    """
    sums = window_sums(counts, window)
    classes = np.where(sums <= background_max, BACKGROUND, np.where(sums > signal_min, SIGNAL, UNCERTAIN))
    reach = background_reach(counts, window)
    signal = _predicted_signal(prediction)
    unsupported = (signal > 0) & (sums <= max(signal_min, reach))
    bits = (classes + PREDICTED * (signal > 0) + UNSUPPORTED * unsupported).astype(np.uint8)
    return Support(bits, unsupported_share(prediction, bits), reach)


def unsupported_share(prediction: Array, bits: NDArray[np.uint8]) -> float:
    """Share of the predicted signal on pixels that are unsupported; 0 when none is predicted.

    Parameters
    ----------
    prediction
        (H, W), on whichever scale.
    bits
        (H, W), a support map.
    """
    signal = _predicted_signal(prediction)
    unsupported = (bits & UNSUPPORTED).astype(bool)
    return float(signal[unsupported].sum() / max(float(signal.sum()), 1e-12))


def mark_disagreement(bits: NDArray[np.uint8], similarity: Float64, window: int) -> NDArray[np.uint8]:
    """Support map in which what both halves of the photons disagree on is unsupported, too.

    Parameters
    ----------
    bits
        (H, W), the support map of the whole frame.
    similarity
        From `arithmetic.ssim_map`, of the predictions of both halves.
    window
        Its side, px; at the borders the nearest whole window decides.

    Returns
    -------
    (H, W) uint8
    """
    unlike = np.pad(similarity, window // 2, mode="edge").astype(np.float32) < np.float32(DISAGREE)
    disagreed = (bits & PREDICTED).astype(bool) & unlike
    return np.where(disagreed, bits | np.uint8(UNSUPPORTED), bits)


def all_unsupported(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Support map of a frame that shows no structure: whatever is predicted there stands on nothing."""
    return np.where(bits & PREDICTED, bits | np.uint8(UNSUPPORTED), bits)


def background_reach(counts: Array, window: int) -> float:
    """Window sum that a frame's background reaches, counts: from its darkest windows.

    Windows below zero, where an offset was subtracted, count as dark.
    """
    darkest = np.sort(window_sums(counts, window)[::STRIDE_PX, ::STRIDE_PX], axis=None)
    level = darkest[math.ceil(DARKEST * darkest.size) - 1]
    return float((math.sqrt(max(level, 0.0)) + ABOVE_DARKEST + BACKGROUND_REACH) ** 2)


def _predicted_signal(prediction: Array) -> Float64:
    """(H, W): how far a prediction rises above its mean by more than its mean absolute deviation."""
    centred = prediction.astype(np.float64) - prediction.mean(dtype=np.float64)
    return np.asarray(np.maximum(centred - np.abs(centred).mean(), 0))
