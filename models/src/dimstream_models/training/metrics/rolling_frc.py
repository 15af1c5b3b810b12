"""Map of local resolution: Fourier ring correlation in a block that rolls over two images.

Source: Zhao et al. 2022, rFRC, doi 10.1101/2022.12.01.518675. The map is that of their ImageJ plugin 0.2.5
with the 1/7 threshold, its details included, so that figures can be compared with published ones; here all
blocks of a batch share a transform, and rings are one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from heapq import heappop, heappush
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import fft, ndimage

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics.frc import MIN_SIDE, THRESHOLD, first_crossing, taper
from dimstream_models.training.metrics.images import Image, as_plane, require_same_shape

Float32 = NDArray[np.float32]
FULL_SCALE: Final = 255.0
OUTLIER: Final = 2.0  # times the median of its neighbourhood, from which a pixel is replaced by it
BATCH: Final = 256


@dataclass(frozen=True)
class RollingFrc:
    """Local resolution of a pair of images.

    Parameters
    ----------
    resolution_px : (H, W) float32
        Smallest period on which the two agree, px; nan in the background.
    """

    resolution_px: Float32

    @property
    def mean_px(self) -> float | None:
        """Mean resolution, px; None when nothing is mapped."""
        return None if self._mapped.size == 0 else float(self._mapped.mean(dtype=np.float64))

    @property
    def minimum_px(self) -> float | None:
        """Best resolution, px; None when nothing is mapped."""
        return None if self._mapped.size == 0 else float(self._mapped.min())

    @property
    def maximum_px(self) -> float | None:
        """Worst resolution, px; None when nothing is mapped."""
        return None if self._mapped.size == 0 else float(self._mapped.max())

    @property
    def value(self) -> float | None:
        """The authors' rFRC value, mean by minimum less 1: 0 where resolution is the same everywhere."""
        mean, minimum = self.mean_px, self.minimum_px
        return None if mean is None or minimum is None else mean / minimum - 1

    @property
    def _mapped(self) -> Float32:
        return self.resolution_px[np.isfinite(self.resolution_px)]


def rolling_frc(
    a: Image,
    b: Image,
    *,
    block: int = 64,
    skip: int = 4,
    background: float = 20.0,
    threshold: float = THRESHOLD,
) -> RollingFrc:
    """Return the resolution around each pixel of two images of one field with independent noise.

    Which two images were correlated belongs beside the figure: two that share their noise agree everywhere.

    Parameters
    ----------
    a, b : (H, W)
        In registration; each is taken relative to its own maximum.
    block : int
        Side of the block, px, even.
    skip : int
        Side of the squares that get one value, px; 1 for a value at every pixel.
    background : float
        Squares whose brightness, the mean of both images on a scale from 0 to 255, is not above this are
        background (the paper: 20).
    threshold : float
        The paper: 1/7.

    Raises
    ------
    CannotEvaluate
        When shapes differ, they are no planes, a side is not longer than half a block, pixels are not
        finite, or block and skip are out of bounds.
    """
    require_same_shape(a, b)
    if block % 2 or block < MIN_SIDE or not 1 <= skip <= block // 2:
        wanted = f"an even block of at least {MIN_SIDE} px and a skip from 1 to half of it"
        raise CannotEvaluate(f"expected {wanted}, got a block of {block} and a skip of {skip}")
    planes = [as_plane(image, min_side=block // 2 + 1).astype(np.float32) for image in (a, b)]
    padded = [np.pad(plane, block // 2, mode="reflect") for plane in planes]
    starts = _foreground(padded, a.shape, block, skip, background)
    found = _resolutions(padded, starts, block, threshold)
    spread = _spread(found, starts, a.shape, skip)
    for _ in range(2):  # the published map was cleaned twice
        _replace_outliers(spread)
    return RollingFrc(np.where(spread > 0, spread, np.float32(np.nan)))


def _foreground(
    padded: list[Float32], shape: tuple[int, ...], block: int, skip: int, background: float
) -> NDArray[np.intp]:
    """Return where blocks start whose middle is brighter than the background, (N, 2)."""
    if min(plane.max() for plane in padded) <= 0:
        return np.zeros((0, 2), np.intp)
    bright = np.asarray(sum(plane / plane.max() for plane in padded))
    middle = block // 2 - 1  # the plugin's: one pixel up and left of the pixel that the value is written to
    squares = sliding_window_view(bright[middle:, middle:], (skip, skip))[::skip, ::skip]
    rows, columns = (-(-side // skip) for side in shape)
    level = squares[:rows, :columns].mean(axis=(2, 3))
    return np.argwhere(level * FULL_SCALE > 2 * background) * skip


def _resolutions(
    padded: list[Float32], starts: NDArray[np.intp], block: int, threshold: float
) -> NDArray[np.float64]:
    """Return the resolution of each block, (N,), px; nan where the correlation never falls."""
    window = np.outer(taper(block), taper(block)).astype(np.float32)
    rings = _ring_weights(block)
    views = [sliding_window_view(plane, (block, block)) for plane in padded]
    found = np.full(len(starts), np.nan)
    for at in range(0, len(starts), BATCH):
        rows, columns = starts[at : at + BATCH].T
        # halved along y, where the sampled half circles lie
        first, second = (fft.rfft2(view[rows, columns] * window, axes=(-1, -2)) for view in views)
        shared, power, other = (
            values.reshape(len(rows), -1) @ rings.T  # (B, R)
            for values in (
                first.real * second.real + first.imag * second.imag,
                first.real**2 + first.imag**2,
                second.real**2 + second.imag**2,
            )
        )
        norm = np.sqrt(power.astype(np.float64) * other)
        correlation = np.divide(shared, norm, out=np.zeros_like(norm), where=norm > 0)
        correlation[:, 0] = 1
        found[at : at + BATCH] = block / first_crossing(correlation, threshold)
    return found


@cache
def _ring_weights(block: int) -> Float32:
    """Return how much each frequency counts in each ring, (R, (block / 2 + 1) * block).

    A ring is a half circle sampled every radian by its radius, each sample between its four neighbours.
    The plugin swaps the two neighbours of larger y; published maps agree only when it is done here too.
    """
    centre = block // 2
    weights = np.zeros((centre - 1, centre + 1, block))  # y from 0, x centred
    for ring in range(1, centre - 1):
        angle = np.arange(0, np.pi, 1 / ring)
        x, y = centre + ring * np.cos(angle), ring * np.sin(angle)
        column, row = x.astype(np.intp), y.astype(np.intp)
        right, up = x - column, y - row
        np.add.at(weights[ring], (row, column), (1 - right) * (1 - up))
        np.add.at(weights[ring], (row, column + 1), right * (1 - up))
        np.add.at(weights[ring], (row + 1, column + 1), (1 - right) * up)
        np.add.at(weights[ring], (row + 1, column), right * up)
    return np.asarray(fft.ifftshift(weights, axes=2).reshape(len(weights), -1), np.float32)


def _spread(
    found: NDArray[np.float64], starts: NDArray[np.intp], shape: tuple[int, ...], skip: int
) -> Float32:
    """Return the map (H, W), 0 where nothing was found; each square reaches a pixel further to the right."""
    rows, columns = (-(-side // skip) for side in shape)
    squares = np.zeros((rows, columns), np.float32)
    squares[tuple(starts.T // skip)] = np.nan_to_num(found)
    spread = squares.repeat(skip, axis=0).repeat(skip, axis=1)[: shape[0], : shape[1]]
    spread[:, 1:] = np.where(spread[:, 1:] > 0, spread[:, 1:], spread[:, :-1])
    return spread


def _replace_outliers(image: Float32) -> None:
    """Give every pixel above twice the median of its 3 x 3 neighbourhood that median, row by row in place.

    Later pixels see what earlier ones became. Only where something changes is worth a second look, so a
    queue in reading order does what a pass over all pixels would do.
    """
    height, width = image.shape
    queue = np.flatnonzero(OUTLIER * ndimage.median_filter(image, 3) < image).tolist()
    while queue:
        at = heappop(queue)
        y, x = divmod(at, width)
        if not (0 < y < height - 1 and 0 < x < width - 1):
            continue
        median = np.median(image[y - 1 : y + 2, x - 1 : x + 2])
        if OUTLIER * median < image[y, x]:
            image[y, x] = median
            for later in (at + 1, at + width - 1, at + width, at + width + 1):
                heappush(queue, later)
