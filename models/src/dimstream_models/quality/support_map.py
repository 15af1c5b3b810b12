"""Where photons support a prediction: the paper's classes, the predicted structure, and both together.

Source of the classes: the paper's Methods, "Quality control metrics". The counts in a sliding 10x10 window
class a pixel as background, uncertain or signal. The thresholds are numbers of photons. So they do not detect
structure on a bright background, and hardly detect faint structure. Support is therefore a test of the raw
counts in a window of 15 px around each pixel. It compares the light predicted there with the level of the
counts around it.

Counts are weighted by the prediction and divided by the weight of their mean, so that their sums scatter
about as whole photon counts do. Square roots of such counts have the same standard error everywhere (Anscombe
1948, doi 10.1093/biomet/35.3-4.246). In units of that error, the prediction is `expected` above the
background, and the counts are `seen` above it. A prediction is supported where

- `expected` is at least 3.2. Less cannot be distinguished from the background's own noise. Where these
  photons' noise happens to be high, a network finds structure, so a high `seen` alone proves little.
- `seen` is at least 2, and at least half of `expected`. If more than 3/4 of the light is absent, it was not
  seen.

In an empty field, one window in 44 reaches 2 by chance.
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
"""Least share of `expected` that is seen. The module's docstring explains all three."""
CELL_PX: Final = 3
CELLS: Final = 5
"""The window's side, cells. The window moves in steps of one cell."""
WINDOW_PX: Final = (CELL_PX * CELLS) ** 2
"""Pixels of the window."""
ANSCOMBE: Final = 3 / 8
HOT_RATIO: Final = 2.0
HOT_DEVIATIONS: Final = 2.0
"""The point spread function spreads light to a pixel's neighbours. If their mean is m, the pixel is at most 2
m plus two square roots of m + 1. A brighter pixel is a hot pixel."""
TINY: Final = 1e-12

DISAGREE: Final = 0.3
"""If the SSIM of both halves' predictions in a window is below this, they show different things there."""


@dataclass(frozen=True)
class Support:
    """How much of a frame's predicted signal is supported by photons.

    Parameters
    ----------
    classes
        (H, W) uint8, the bits `CLASS`, `PREDICTED` and `UNSUPPORTED` of each pixel.
    unsupported_fraction
        Share of the predicted signal that is on unsupported pixels, 0 to 1; 0 when no signal is predicted.
    """

    classes: NDArray[np.uint8]
    unsupported_fraction: float


def support(
    counts: Array, prediction: Array, window: int, background_max: float, signal_min: float
) -> Support:
    """Return how the raw frame supports the prediction that was made from it.

    Parameters
    ----------
    counts
        (H, W), photon counts.
    prediction
        (H, W), the network's output, before rescaling.
    window, background_max, signal_min
        Settings of the classes, as in `arithmetic.signal_fractions`.
    """
    sums = window_sums(counts, window)
    classes = np.where(sums <= background_max, BACKGROUND, np.where(sums > signal_min, SIGNAL, UNCERTAIN))
    signal = predicted_structure(prediction)
    unsupported = (signal > 0) & ~supported_pixels(counts, signal)
    bits = (classes + PREDICTED * (signal > 0) + UNSUPPORTED * unsupported).astype(np.uint8)
    return Support(bits, _share(signal, bits))


def supported_pixels(counts: Array, structure: Float64) -> NDArray[np.bool_]:
    """Return the pixels at which photons support the structure that is predicted around them.

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
    """Return counts in which no pixel is brighter than its eight neighbours allow (see `HOT_RATIO`).

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
    """Share of the predicted signal that is on unsupported pixels, 0 to 1; 0 when no signal is predicted.

    Parameters
    ----------
    prediction
        (H, W), in any unit.
    bits
        (H, W), a support map.
    """
    return _share(predicted_structure(prediction), bits)


def mark_disagreement(bits: NDArray[np.uint8], similarity: Float64, window: int) -> NDArray[np.uint8]:
    """Return a support map in which pixels are also unsupported where both halves of the photons disagree.

    Parameters
    ----------
    bits
        (H, W), the support map of the whole frame.
    similarity
        From `ssim.ssim_map`, of the predictions of both halves.
    window
        Side of SSIM's window, px; pixels at the borders take the value of the nearest whole window.

    Returns
    -------
    (H, W) uint8
    """
    unlike = np.pad(similarity, window // 2, mode="edge").astype(np.float32) < np.float32(DISAGREE)
    disagreed = (bits & PREDICTED).astype(bool) & unlike
    return np.where(disagreed, bits | np.uint8(UNSUPPORTED), bits)


def all_unsupported(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the support map, (H, W) uint8, of a frame without structure: all predicted signal is
    unsupported."""
    return np.where(bits & PREDICTED, bits | np.uint8(UNSUPPORTED), bits)


def _share(signal: Float64, bits: NDArray[np.uint8]) -> float:
    unsupported = (bits & UNSUPPORTED).astype(bool)
    return float(signal[unsupported].sum() / max(float(signal.sum()), 1e-12))


def _gain(light: Float64, template: Float64) -> float:
    """Photons of a pixel per unit of the template, over the whole frame. Bright places weigh little more than
    others."""
    weights = (template > 0) / (template + 1)
    return max(float((light * weights).sum()) / max(float((template * weights).sum()), TINY), 0.0)


def _root(counts: Float64) -> Float64:
    """Transform counts so that their standard error is 1."""
    return np.asarray(2 * np.sqrt(np.maximum(counts, 0) + ANSCOMBE))


def _window_means(values: Array) -> Float64:
    """Means of the windows around all cells; outside the frame, values are 0."""
    cells = np.pad(cell_means(values, CELL_PX), CELLS // 2)
    return np.asarray(sliding_window_view(cells, (CELLS, CELLS)).mean(axis=(2, 3)))
