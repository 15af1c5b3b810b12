"""Fourier ring correlation: the frequency up to which two independent images of one field agree.

Source: Saxton, Baumeister 1982 (doi 10.1111/j.1365-2818.1982.tb00405.x); the threshold of 1/7 and the
window are those of Nieuwenhuizen et al. 2013, doi 10.1038/nmeth.2448. Two images that share their noise
(a prediction with itself, two predictions of one frame) correlate at every frequency: whoever calls these
functions answers for the pair, and must name it beside the figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft

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
        Middle of each ring, from 0 to below 0.5; rings are one reciprocal shorter side wide.
    correlation : (R,) float64
        From -1 to 1; at frequency 0 it is 1 by definition.
    """

    frequency_per_px: Floats
    correlation: Floats


def fourier_ring_correlation(a: Image, b: Image) -> RingCorrelation:
    """Return the correlation of two images in each ring of the frequency plane.

    The mean is taken off, and a Tukey window fades the outer eighth of each side to zero: without it the
    edges, which both images share, correlate at all frequencies.

    Parameters
    ----------
    a, b : (H, W)
        Two images of one field with independent noise, in registration.

    Raises
    ------
    CannotEvaluate
        When shapes differ, they are no planes, a side is shorter than 16 px, or pixels are not finite.
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

    The crossing is interpolated linearly between the two rings around it. None when the correlation is
    below the threshold from the first ring on, or never falls below it.

    Parameters
    ----------
    a, b : (H, W)
        As `fourier_ring_correlation` takes them.
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
    """Return the means of a still sample's even and odd frames: two images with independent noise.

    Each frame is brought to the movie's mean brightness first, which takes the bleaching out.

    Parameters
    ----------
    movie : (T, H, W)
        Photon counts; at least two frames, none of them empty.

    Raises
    ------
    CannotEvaluate
        When it is no such movie.
    """
    frames = as_floats(movie)
    if frames.ndim != 3 or len(frames) < 2:
        raise CannotEvaluate(f"expected a movie (T, H, W) of two frames or more, got shape {movie.shape}")
    level = frames.mean(axis=(1, 2), keepdims=True)
    if level.min() <= 0:
        raise CannotEvaluate("expected frames with light in them, got one whose mean is not above 0")
    levelled = frames / level * level.mean()
    return np.asarray(levelled[0::2].mean(axis=0)), np.asarray(levelled[1::2].mean(axis=0))


def taper(side: int) -> Floats:
    """Return a Tukey window, (side,): 0 at both ends, 1 from an eighth of the side inwards."""
    from_end = np.minimum(np.arange(side), np.arange(side)[::-1])
    edge = from_end <= side // 8
    return np.asarray(np.where(edge, np.sin(4 * np.pi * from_end / (side - 1)) ** 2, 1.0))


def _spectrum(image: Floats) -> NDArray[np.complex128]:
    rows, columns = (taper(side) for side in image.shape)
    from_first = image - image[0, 0]  # exactly 0 in a constant image, and then its spectrum too
    return np.asarray(fft.rfft2((from_first - from_first.mean()) * np.outer(rows, columns)))
