"""Fourier ring correlation: the frequency up to which two independent images of one field agree.

Source: Saxton, Baumeister 1982 (doi 10.1111/j.1365-2818.1982.tb00405.x); the threshold of 1/7 and the window
are those of Nieuwenhuizen et al. 2013, doi 10.1038/nmeth.2448. Two images that share their noise (a
prediction with itself, two predictions of one frame) correlate at every frequency. So callers must choose a
valid pair, and state it next to the figure.

Map of local resolution: Fourier ring correlation in a block that rolls over two images.

Source: Zhao et al. 2022, rFRC, doi 10.1101/2022.12.01.518675. The map is that of their ImageJ plugin 0.2.5
with the 1/7 threshold, including its details, so that figures can be compared with published ones. Here, all
blocks of a batch share one transform, and all rings are one matrix product.
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
from dimstream_models.training.metrics.images import Floats, Image, as_floats, as_plane, require_same_shape

THRESHOLD: Final = 1 / 7
MIN_SIDE: Final = 16


@dataclass(frozen=True)
class RingCorrelation:
    """Correlation of two images in rings of the frequency plane, not smoothed.

    Parameters
    ----------
    frequency_per_px : (R,) float64
        Centre of each ring, from 0 to below 0.5; the width of a ring is 1 / the shorter side.
    correlation : (R,) float64
        From -1 to 1; at frequency 0 it is 1 by definition.
    """

    frequency_per_px: Floats
    correlation: Floats


def fourier_ring_correlation(a: Image, b: Image) -> RingCorrelation:
    """Return the correlation of two images in each ring of the frequency plane.

    The mean is subtracted, and a Tukey window fades the outer eighth of each side to zero. Without it, the
    edges, which both images share, correlate at all frequencies.

    Parameters
    ----------
    a, b : (H, W)
        Two images of one field with independent noise, in registration.

    Raises
    ------
    CannotEvaluate
        When shapes differ, images are not planes, a side is shorter than 16 px, or pixels are not finite.
    """
    require_same_shape(a, b)
    first, second = (_spectrum(as_plane(image, min_side=MIN_SIDE)) for image in (a, b))
    shorter = min(a.shape)
    radius = np.hypot(fft.fftfreq(a.shape[0])[:, None], fft.rfftfreq(a.shape[1]))  # per px
    ring = np.rint(radius * shorter).astype(np.intp)
    copies = np.where(
        np.isin(np.arange(first.shape[1]), (0, a.shape[1] / 2)), 1.0, 2.0
    )  # of mirrored columns

    def over_rings(values: Floats) -> Floats:
        sums = np.bincount(ring.ravel(), (values * copies).ravel())
        return np.asarray(sums[: (shorter + 1) // 2])

    shared = over_rings((first * second.conj()).real)
    power = np.sqrt(over_rings(np.abs(first) ** 2) * over_rings(np.abs(second) ** 2))
    correlation = np.divide(shared, power, out=np.zeros_like(shared), where=power > 0)
    correlation[0] = 1
    return RingCorrelation(np.arange(len(correlation)) / shorter, correlation)


def frc_resolution_px(a: Image, b: Image, *, threshold: float = THRESHOLD) -> float | None:
    """Return the period at which the ring correlation first falls below the threshold, px.

    The crossing is interpolated linearly between two rings. None when the correlation is below the threshold
    from the first ring on, or never falls below it.

    Parameters
    ----------
    a, b : (H, W)
        As in `fourier_ring_correlation`.
    threshold : float
        Source: the paper's Methods, "Quality control metrics" (1/7).

    Raises
    ------
    CannotEvaluate
        As `fourier_ring_correlation`.
    """
    curve = fourier_ring_correlation(a, b)
    ring = float(first_crossing(curve.correlation, threshold))
    return None if not ring > 1 else 1 / (ring * curve.frequency_per_px[1])


def first_crossing(correlation: Floats, threshold: float) -> Floats:
    """Return where curves (..., R) first fall below the threshold, in rings; nan where they never do."""
    before, after = correlation[..., :-1], correlation[..., 1:]
    falls = (before >= threshold) & (after < threshold)
    at = falls.argmax(axis=-1)[..., None]
    above, below = (np.take_along_axis(side, at, axis=-1)[..., 0] for side in (before, after))
    crossing = at[..., 0] + (above - threshold) / np.where(above > below, above - below, 1)
    return np.where(falls.any(axis=-1), crossing, np.nan)


def even_and_odd_means(movie: Image) -> tuple[Floats, Floats]:
    """Return the means of a still sample's even and odd frames, each (H, W): two images with independent
    noise.

    Each frame is first scaled to the movie's mean brightness, which corrects for bleaching.

    Parameters
    ----------
    movie : (T, H, W)
        Photon counts; at least two frames, none of which is empty.

    Raises
    ------
    CannotEvaluate
        When it is not such a movie.
    """
    frames = as_floats(movie)
    if frames.ndim != 3 or len(frames) < 2:
        raise CannotEvaluate(f"expected a movie (T, H, W) of at least two frames, got shape {movie.shape}")
    level = frames.mean(axis=(1, 2), keepdims=True)
    if level.min() <= 0:
        raise CannotEvaluate("expected frames with light in them, got one whose mean is not above 0")
    levelled = frames / level * level.mean()
    return np.asarray(levelled[0::2].mean(axis=0)), np.asarray(levelled[1::2].mean(axis=0))


def taper(side: int) -> Floats:
    """Return a Tukey window, (N,) of `side` values: 0 at both ends, 1 from an eighth of the side inwards."""
    from_end = np.minimum(np.arange(side), np.arange(side)[::-1])
    edge = from_end <= side // 8
    return np.asarray(np.where(edge, np.sin(4 * np.pi * from_end / (side - 1)) ** 2, 1.0))


def _spectrum(image: Floats) -> NDArray[np.complex128]:
    rows, columns = (taper(side) for side in image.shape)
    from_first = image - image[0, 0]  # exactly 0 in a constant image, and then its spectrum too
    return np.asarray(fft.rfft2((from_first - from_first.mean()) * np.outer(rows, columns)))


Float32 = NDArray[np.float32]
FULL_SCALE: Final = 255.0
OUTLIER: Final = (
    2.0  # a pixel above this many times the median of its neighbourhood is replaced by the median
)
BATCH: Final = 256


@dataclass(frozen=True)
class RollingFrc:
    """Local resolution of a pair of images.

    Parameters
    ----------
    resolution_px : (H, W) float32
        Smallest period on which both images agree, px; nan in the background.
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
        """The authors' rFRC value, mean / minimum - 1; 0 if the resolution is the same everywhere."""
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

    State next to the figure which two images were correlated: two that share their noise agree everywhere.

    Parameters
    ----------
    a, b : (H, W)
        In registration; each is divided by its own maximum.
    block : int
        Side of the block, px, even.
    skip : int
        Side of the squares that get one value, px; 1 for a value at every pixel.
    background : float
        Squares of at most this brightness are background (the paper: 20); brightness is the mean of both
        images, on a scale from 0 to 255.
    threshold : float
        The paper: 1/7.

    Raises
    ------
    CannotEvaluate
        When shapes differ, images are not planes, a side is not longer than half a block, pixels are not
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
    for _ in range(2):  # the published map was filtered twice
        _replace_outliers(spread)
    return RollingFrc(np.where(spread > 0, spread, np.float32(np.nan)))


def _foreground(
    padded: list[Float32], shape: tuple[int, ...], block: int, skip: int, background: float
) -> NDArray[np.intp]:
    """Return the starts, (N, 2), of blocks whose centre is brighter than the background."""
    if min(plane.max() for plane in padded) <= 0:
        return np.zeros((0, 2), np.intp)
    bright = np.asarray(sum(plane / plane.max() for plane in padded))
    middle = (
        block // 2 - 1
    )  # as in the plugin: one pixel above and left of the pixel to which the value is written
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
        # half along y, where the half circles are sampled
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
    """Return the weight of each frequency in each ring, (R, (block / 2 + 1) * block).

    A ring is a half circle, sampled every 1 / radius radians, and each sample is interpolated between its
    four neighbours. The plugin swaps the two neighbours of larger y. This code does the same, because only
    then does it agree with published maps.
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
    """Return the map (H, W), 0 where nothing was found; each square extends one pixel further to the
    right."""
    rows, columns = (-(-side // skip) for side in shape)
    squares = np.zeros((rows, columns), np.float32)
    squares[tuple(starts.T // skip)] = np.nan_to_num(found)
    spread = squares.repeat(skip, axis=0).repeat(skip, axis=1)[: shape[0], : shape[1]]
    spread[:, 1:] = np.where(spread[:, 1:] > 0, spread[:, 1:], spread[:, :-1])
    return spread


def _replace_outliers(image: Float32) -> None:
    """Replace every pixel above twice the median of its 3 x 3 neighbourhood by that median, row by row, in
    place.

    Later pixels use the new values of earlier ones. Only neighbours of changed pixels need another check, so
    a queue in reading order gives the same result as a pass over all pixels.
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
