"""Where a prediction stands on photons: the paper's classes, the structure that is predicted, and both
together.

Source of the classes: the paper's Methods, "Quality control metrics": counts in a sliding 10x10 window
class a pixel as background, uncertain or signal. Their thresholds are numbers of photons, so they say nothing
of structure on a bright background, and little of faint structure. What photons support is therefore told by
a test of the raw counts in a window of 15 px around each pixel: the light that is predicted there, against
the level of the counts around it.

Counts are weighted by the prediction, and divided by the weight of their mean, so that their sums scatter
about as counts of whole photons do. Square roots of such counts have the same standard error everywhere
(Anscombe 1948, doi 10.1093/biomet/35.3-4.246). In its units the prediction is `expected` above the
background, and the counts are `seen` above it. A prediction is supported where

- `expected` is 3.2 or more: less could not be told from the background's own noise. A network finds its
  structure where the noise of these very photons is high, so `seen` alone proves little;
- `seen` is 2 or more, and half of `expected`: what is more than 3/4 absent was not seen.

Where nothing is, one window in 44 reaches 2 by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array, Float64, window_sums
from dimstream_models.quality.local_level import cell_means, local_level, predicted_structure

BACKGROUND, UNCERTAIN, SIGNAL = 0, 1, 2
CLASS: Final = 0b0011
PREDICTED: Final = 0b0100
UNSUPPORTED: Final = 0b1000
"""Bits of a support map."""

LEAST_EXPECTED: Final = 3.2
LEAST_SEEN: Final = 2.0
LEAST_SHARE: Final = 0.5
"""Of what is expected; all three as the module's docstring says."""
CELL_PX: Final = 3
CELLS: Final = 5
"""The window's side, cells; it is looked at in steps of one cell."""
WINDOW_PX: Final = (CELL_PX * CELLS) ** 2
"""Its pixels."""
ANSCOMBE: Final = 3 / 8
HOT_RATIO: Final = 2.0
HOT_DEVIATIONS: Final = 2.0
"""Light that has passed a microscope reaches a pixel's neighbours: where their mean is m, it is no brighter
than 2 m and two square roots of m + 1. What is brighter is a hot pixel."""
TINY: Final = 1e-12

DISAGREE: Final = 0.3
"""SSIM of a window of both halves' predictions, below which they show different things there."""


@dataclass(frozen=True)
class Support:
    """How much of a frame's predicted signal stands on photons.

    Parameters
    ----------
    classes
        (H, W) uint8, the bits `CLASS`, `PREDICTED` and `UNSUPPORTED` of each pixel.
    unsupported_fraction
        Share of the predicted signal on pixels that are unsupported; 0 when none is predicted.
    """

    classes: NDArray[np.uint8]
    unsupported_fraction: float


def support(
    counts: Array, prediction: Array, window: int, background_max: float, signal_min: float
) -> Support:
    """Support of a prediction by the raw frame that it was made from.

    Parameters
    ----------
    counts
        (H, W), photon counts.
    prediction
        (H, W), the network's output, before rescaling.
    window, background_max, signal_min
        Of the classes, as in `arithmetic.signal_fractions`.
    """
    sums = window_sums(counts, window)
    classes = np.where(sums <= background_max, BACKGROUND, np.where(sums > signal_min, SIGNAL, UNCERTAIN))
    signal = predicted_structure(prediction)
    unsupported = (signal > 0) & ~supported_pixels(counts, signal)
    bits = (classes + PREDICTED * (signal > 0) + UNSUPPORTED * unsupported).astype(np.uint8)
    return Support(bits, _share(signal, bits))


def supported_pixels(counts: Array, structure: Float64) -> NDArray[np.bool_]:
    """Which pixels' photons support the structure that is predicted around them.

    Parameters
    ----------
    counts
        (H, W), photon counts.
    structure
        (H, W), from `local_level.predicted_structure`.

    Returns
    -------
    (H, W) bool
    """
    predicted = structure > 0
    photons = without_hot_pixels(counts)
    background = np.maximum(local_level(photons, ~predicted), 0)
    template = structure / max(structure.sum() / max(predicted.sum(), 1), 1e-30)  # its mean is 1
    gain = _gain(photons - background, template)
    of_light, of_background, of_squares, of_template = (
        WINDOW_PX * _window_means(template * each) for each in (photons, background, template, 1.0)
    )
    weight = np.maximum(of_squares / np.maximum(of_template, TINY), TINY)
    level = _root(of_background / weight)
    seen = _root(of_light / weight) - level
    expected = _root(of_background / weight + gain * of_template) - level
    cells = (expected >= LEAST_EXPECTED) & (seen >= np.maximum(LEAST_SEEN, LEAST_SHARE * expected))
    height, width = counts.shape
    return np.asarray(np.kron(cells, np.ones((CELL_PX, CELL_PX), bool))[:height, :width])


def without_hot_pixels(counts: Array) -> Float64:
    """Counts, none of which is brighter than light from a microscope could be beside its eight neighbours.

    Parameters
    ----------
    counts
        (H, W), photon counts.

    Returns
    -------
    (H, W) float64
    """
    values = counts.astype(np.float64)
    windows = sliding_window_view(np.pad(values, 1, mode="reflect"), (3, 3))
    around = np.maximum(windows.sum(axis=(2, 3)) - values, 0) / 8
    return np.asarray(np.minimum(values, HOT_RATIO * around + HOT_DEVIATIONS * np.sqrt(around + 1)))


def unsupported_share(prediction: Array, bits: NDArray[np.uint8]) -> float:
    """Share of the predicted signal on pixels that are unsupported; 0 when none is predicted.

    Parameters
    ----------
    prediction
        (H, W), on whichever scale.
    bits
        (H, W), a support map.
    """
    return _share(predicted_structure(prediction), bits)


def mark_disagreement(bits: NDArray[np.uint8], similarity: Float64, window: int) -> NDArray[np.uint8]:
    """Support map in which what both halves of the photons disagree on is unsupported, too.

    Parameters
    ----------
    bits
        (H, W), the support map of the whole frame.
    similarity
        From `ssim.ssim_map`, of the predictions of both halves.
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
    """Support map, (H, W) uint8 bits, of a frame that shows no structure: nothing predicted is supported."""
    return np.where(bits & PREDICTED, bits | np.uint8(UNSUPPORTED), bits)


def _share(signal: Float64, bits: NDArray[np.uint8]) -> float:
    unsupported = (bits & UNSUPPORTED).astype(bool)
    return float(signal[unsupported].sum() / max(float(signal.sum()), 1e-12))


def _gain(light: Float64, template: Float64) -> float:
    """Photons of a pixel for a template of 1, over the whole frame; bright places weigh little more than
    others."""
    weights = (template > 0) / (template + 1)
    return max(float((light * weights).sum()) / max(float((template * weights).sum()), TINY), 0.0)


def _root(counts: Float64) -> Float64:
    """Counts on a scale on which their standard error is 1."""
    return np.asarray(2 * np.sqrt(np.maximum(counts, 0) + ANSCOMBE))


def _window_means(values: Array) -> Float64:
    """Means of the windows around all cells; what lies outside the frame counts as 0."""
    cells = np.pad(cell_means(values, CELL_PX), CELLS // 2)
    return np.asarray(sliding_window_view(cells, (CELLS, CELLS)).mean(axis=(2, 3)))
