"""How strong the noise of a frame is at each brightness: variance against mean.

Photon counts are Poisson, so their variance equals their mean. A detector with an offset and a gain has
variance = gain * (mean - offset). Averaged and smoothed images have less variance (photon transfer: Janesick
2007, doi 10.1117/3.725073). The variance is estimated from second differences along both axes. They keep the
noise of single pixels, and remove almost everything that a microscope resolves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Array, Float64

CERTAIN: Final = 3.0
"""Number of standard errors beyond a bound that counts as certain."""
SECOND_DIFFERENCE: Final = (1.0, -2.0, 1.0)
MARGIN: Final = len(SECOND_DIFFERENCE) - 1
"""Pixels along a side that have no second difference."""
NORM: Final = 36.0
"""Sum of the squares of the second difference along both axes."""
SPECK: Final = 20.0
SPECK_COUNTS: Final = 5.0
"""A pixel brighter than `SPECK` times the frame's mean and `SPECK_COUNTS` is a speck or a hot pixel."""
BLOCK_PX: Final = 8
CLASSES: Final = 4
FEWEST_BLOCKS: Final = 8
"""Fewest blocks in a class; a frame with fewer blocks is one class."""
SAMPLED_PX: Final = 2**16
"""About this many pixels of a frame are used, in bands of whole blocks."""

Values = NDArray[Any]  # (..., H, W) float


@dataclass(frozen=True)
class Dispersion:
    """Ratio of variance to mean of some blocks of a frame, and its standard error."""

    ratio: float
    error: float

    def surely_below(self, bound: float) -> bool:
        """Whether it is below a bound, with certainty (see `CERTAIN`)."""
        return self.ratio + CERTAIN * self.error < bound

    def surely_above(self, bound: float) -> bool:
        """Whether it is above a bound, with certainty (see `CERTAIN`)."""
        return self.ratio - CERTAIN * self.error > bound


@dataclass(frozen=True)
class BlockNoise:
    """Mean and noise variance of the blocks of a frame.

    Parameters
    ----------
    means, variances
        (n,) float64: sums over each block's pixels except specks, divided by the block's size.
    """

    means: Float64
    variances: Float64

    def classes(self, number: int) -> list[BlockNoise]:
        """Return the blocks in classes of equal size, from dark to bright; an empty list where there are too
        few."""
        if len(self.means) < number * FEWEST_BLOCKS:
            return []
        parts = np.array_split(np.argsort(self.means, kind="stable"), number)
        return [BlockNoise(self.means[part], self.variances[part]) for part in parts]

    def dispersion(self) -> Dispersion:
        """Return the ratio of both sums, and its standard error from the scatter of the blocks."""
        total = float(self.means.sum())
        if total <= 0 or len(self.means) < 2:
            return Dispersion(1.0, np.inf)
        ratio = float(self.variances.sum()) / total
        residual = float(((self.variances - ratio * self.means) ** 2).sum())
        scatter = residual * len(self.means) / (len(self.means) - 1)
        return Dispersion(ratio, float(np.sqrt(scatter)) / total)


def block_noise(frame: Array, *, left_out: NDArray[np.bool_] | None = None) -> BlockNoise:
    """Return mean and noise of the blocks of a frame.

    Parameters
    ----------
    frame
        (H, W), at least 3 px a side.
    left_out
        (H, W) bool, pixels to ignore, such as saturated ones. Specks are always ignored.
    """
    values = bands(frame).astype(np.float32, copy=False)
    speck = values > SPECK * max(float(values.mean()), 0.0) + SPECK_COUNTS
    if left_out is not None:
        speck |= bands(left_out)
    variance = along_both_axes(values, SECOND_DIFFERENCE)
    variance *= variance
    variance /= np.float32(NORM)
    mean = along_both_axes(values, [weight**2 for weight in SECOND_DIFFERENCE])
    mean /= np.float32(NORM)
    if speck.any():
        ordinary = along_both_axes(speck.astype(np.float32), (1.0, 1.0, 1.0)) == 0
        variance, mean = variance * ordinary, mean * ordinary
    return BlockNoise(of_blocks(mean), of_blocks(variance))


def bands(frame: Array) -> Array:
    """Return evenly chosen bands of a frame (H, W), each one block and its margin high: (n, h, W).

    A small frame gives all its bands. A frame that is lower than one block gives itself as the only band.
    """
    rows = BLOCK_PX + MARGIN
    if frame.shape[0] < rows or frame.shape[1] < rows:
        return frame[None]
    step = BLOCK_PX * max(1, round(frame.size / SAMPLED_PX))
    starts = range(0, frame.shape[0] - rows + 1, step)
    return np.stack([frame[start : start + rows] for start in starts])


def along_both_axes(image: Values, weights: tuple[float, ...] | list[float]) -> Values:
    """Return the weighted sum of each inner pixel and its two neighbours, along one axis and then the other.

    Parameters
    ----------
    image
        (..., H, W) float.
    """
    rows = _weighed(image[..., :-2, :], image[..., 1:-1, :], image[..., 2:, :], weights)
    return _weighed(rows[..., :-2], rows[..., 1:-1], rows[..., 2:], weights)


def _weighed(before: Values, here: Values, after: Values, weights: tuple[float, ...] | list[float]) -> Values:
    """Weighted sum of three arrays of one type, in as few passes as possible."""
    first, middle, last = (here.dtype.type(weight) for weight in weights)
    summed = np.asarray(middle * here)
    summed += before if first == 1 else first * before
    summed += after if last == 1 else last * after
    return summed


def of_blocks(values: Values) -> Float64:
    """Return the means over the blocks of bands (n, h, W), (blocks,); a frame smaller than a block gives one
    mean."""
    number, height, width = values.shape
    if height < BLOCK_PX or width < BLOCK_PX:
        return np.asarray([values.mean(dtype=np.float64)])
    whole = values[:, :BLOCK_PX, : width - width % BLOCK_PX]
    sums = whole.astype(np.float64).reshape(number, BLOCK_PX, -1, BLOCK_PX)
    while sums.shape[-1] > 1:  # added in pairs, as numpy does; numpy itself is slow along such a short axis
        sums = sums[..., ::2] + sums[..., 1::2]
    return np.asarray(sums.sum(axis=(1, 3)) / BLOCK_PX**2).ravel()
