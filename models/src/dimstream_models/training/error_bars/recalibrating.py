"""The last step of a fit: a factor by predicted brightness, determined on frames with another seed.

Errors on the frames of the fit are slightly smaller than on other frames, and a short fit is not accurate in
every bin. The factor is a table over two figures of each pixel: the predicted photons around it, and its own
relative to these. It is linear between its knots, and part of the network's file. It minimises the tolerances
by which the shares of all bins of dose and structure miss their levels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize

from dimstream_models.training.error_bars.fitting import DOSE_EDGES, LEVELS, TOLERANCES
from dimstream_models.training.error_bars.network import KNOTS, ErrorBarNetwork
from dimstream_models.training.error_bars.samples import STRUCTURES, Sample

GROUPS: Final = (len(DOSE_EDGES) + 1) * len(STRUCTURES)
RATIOS: Final = np.linspace(-4, 4, 161)
"""Edges of the histogram of log(error / error bar)."""
_RIDGE: Final = 0.3  # penalty in squared tolerances for a factor of e in one knot


def recalibrate_error_bars(network: ErrorBarNetwork, samples: Iterable[Sample], *, gain: float) -> None:
    """Set the network's table of factors.

    Parameters
    ----------
    samples : iterable of Sample
        Samples with another seed than those of the fit.
    gain : float
        Counts per unit of the denoising network's output.
    """
    shape = tuple(len(knots) for knots in KNOTS)
    found = np.zeros((*shape, GROUPS, len(RATIOS) + 1))
    for sample in samples:
        counts, prediction = (
            torch.from_numpy(image)[None, None] for image in (sample.exposed.counts, sample.prediction)
        )
        with torch.no_grad():
            deviation = network(counts, prediction)[0, 0].numpy() * gain
            places = [place[0, 0].numpy() for place in network.nearest_knots(prediction)]
        _count(found, sample, deviation, places)
    below = np.concatenate([np.zeros((*found.shape[:3], 1)), np.cumsum(found, axis=3)], axis=3)
    start = np.zeros(int(np.prod(shape)))
    best = optimize.minimize(_missed, start, args=(below,), method="Powell", options={"maxiter": 12})
    with torch.no_grad():
        network.table.copy_(torch.from_numpy(best.x.reshape(shape).astype(np.float32)))


def _count(
    found: NDArray[np.float64],
    sample: Sample,
    deviation: NDArray[np.float32],
    places: list[NDArray[np.int64]],
) -> None:
    dose = int(np.searchsorted(DOSE_EDGES, sample.exposed.dose))
    group = dose * len(STRUCTURES) + sample.exposed.structure.astype(np.int64)
    ratio = np.searchsorted(RATIOS, np.log(np.maximum(sample.error, 1e-9) / deviation))
    np.add.at(found, (places[0], places[1], group, ratio), 1.0)


def _missed(logarithms: NDArray[np.float64], below: NDArray[np.float64]) -> float:
    """Return the sum of squared missed tolerances over all groups, plus a small penalty for the table.

    Parameters
    ----------
    below : ndarray
        (knots, knots, groups, ratios), numbers of pixels whose ratio is below each edge of the histogram.
    """
    factors = logarithms.reshape(below.shape[:2])
    pixels = below[..., -1].sum(axis=(0, 1))
    total = 0.0
    for times, (level, tolerance) in enumerate(zip(LEVELS, TOLERANCES, strict=True), 1):
        inside = _share(below, factors + np.log(times)).sum(axis=(0, 1)) / np.maximum(pixels, 1)
        total += float((((inside - level) / tolerance)[pixels > 0] ** 2).sum())
    return total + _RIDGE * float((logarithms**2).sum())


def _share(below: NDArray[np.float64], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the interpolated number of pixels whose ratio is at most the factor, for each knot and group."""
    place = np.clip((factors - RATIOS[0]) / (RATIOS[1] - RATIOS[0]), 0, len(RATIOS) - 1.001)
    low = place.astype(int)
    rows, columns = np.indices(factors.shape)
    first = below[rows, columns, :, low + 1]
    second = below[rows, columns, :, low + 2]
    part = (place - low)[..., None]
    return np.asarray((1 - part) * first + part * second)
