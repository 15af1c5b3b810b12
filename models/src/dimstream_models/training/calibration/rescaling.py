"""Scale and offset of a model: from normalised predictions to counts of the high dose.

Source: the paper's Methods, "Network training": "A scale and offset were calculated based on the pixel values
of predicted training instances and their ground truth images; the test dataset is deliberately excluded from
this process. A linear scaling operation was applied to the pixel values of the predicted images. Values above
the 99th quantile and below the 1st quantile were clipped. The scale and offset values were determined per
model".

`clipped_quantiles` interprets this as follows: over all pixels of all training images, predictions are
clipped to their own 1st and 99th quantile, ground truths to theirs, and one straight line is fitted to the
clipped values. So the few brightest pixels, such as hot pixels or misregistered specks, have limited
influence. The images that are rescaled later are *not* clipped at quantiles: that would flatten the brightest
percent of their structure, and quantiles of a test image are not "per model". In a sparse field, where less
than one percent of the pixels show structure, clipping removes the signal itself; `least_squares` uses all
pixels without clipping.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dimstream_models.bundle import RescalingRecord
from dimstream_models.training.errors import CannotCalibrate

Floats = NDArray[np.float64]
RescalingMethod = Literal["least_squares", "clipped_quantiles"]
PredictedPair = tuple[NDArray[Any], NDArray[Any]]
"""A normalised prediction and its ground truth in counts, both (H, W)."""

LOWEST, HIGHEST = 0.01, 0.99
SAMPLE_PIXELS = 2**22
"""Most pixels that are kept for quantiles; of more pixels, a random choice (seeded)."""


@dataclass(frozen=True)
class Rescaling:
    """From normalised predictions to counts of the high dose: `gain * prediction + offset`."""

    gain: float
    offset: float
    record: RescalingRecord


def fit_rescaling(pairs: Iterable[PredictedPair], method: RescalingMethod, *, data: str) -> Rescaling:
    """Return the straight line from predictions to their ground truth, for training images only.

    Parameters
    ----------
    pairs : iterable of ((H, W) normalised prediction, (H, W) counts)
        Read one by one; memory does not grow with their number.
    method : {"least_squares", "clipped_quantiles"}
        See the module's docstring.
    data : str
        Description of the pairs, for the record.

    Raises
    ------
    CannotCalibrate
        When there are no pairs, shapes differ, values are not finite, or no rising line fits.
    """
    if method == "least_squares":
        moments = _Moments()
        for prediction, truth in pairs:
            moments.add(*_flat(prediction, truth))
        return _line(moments, method, data)
    sample = _Sample(SAMPLE_PIXELS)
    for prediction, truth in pairs:
        sample.add(*_flat(prediction, truth))
    return _clipped_line(sample, data)


@dataclass
class _Moments:
    """Means and centred second moments of all values so far, merged image by image.

    Source: Chan, Golub, LeVeque 1983, doi 10.1080/00031305.1983.10483115.
    """

    images: int = 0
    pixels: int = 0
    means: Floats = field(default_factory=lambda: np.zeros(2))
    products: Floats = field(default_factory=lambda: np.zeros((2, 2)))

    def add(self, prediction: Floats, truth: Floats) -> None:
        values = np.stack([prediction, truth])
        means = values.mean(axis=1)
        centred = values - means[:, None]
        total, shift = self.pixels + len(prediction), means - self.means
        self.products += centred @ centred.T
        self.products += np.outer(shift, shift) * (self.pixels * len(prediction) / total)
        self.means += shift * (len(prediction) / total)
        self.images, self.pixels = self.images + 1, total


class _Sample:
    """A bounded random choice of pixels; every pixel of every image has the same chance."""

    def __init__(self, limit: int) -> None:
        self.limit, self.images = limit, 0
        self._rng = np.random.default_rng(0)
        self._share = 1.0
        self._keys: list[NDArray[np.float32]] = []
        self._values: list[NDArray[np.float32]] = []

    def add(self, prediction: Floats, truth: Floats) -> None:
        """Add part of an image (H, W); when too many pixels are kept, drop half of them."""
        self.images += 1
        keys = self._rng.random(len(prediction), dtype=np.float32)
        values = np.stack([prediction, truth]).astype(np.float32)
        self._keys.append(keys[keys < self._share])
        self._values.append(values[:, keys < self._share])
        while sum(map(len, self._keys)) > self.limit:
            self._share /= 2
            kept = [keys < self._share for keys in self._keys]
            self._values = [v[:, k] for v, k in zip(self._values, kept, strict=True)]
            self._keys = [keys[k] for keys, k in zip(self._keys, kept, strict=True)]

    def values(self) -> tuple[Floats, Floats]:
        """Return the predictions and truths that were kept, each (N,)."""
        prediction, truth = np.concatenate(self._values, axis=1).astype(np.float64)
        return prediction, truth


def _clipped_line(sample: _Sample, data: str) -> Rescaling:
    if not sample.images:
        raise _no_pairs(data)
    prediction, truth = sample.values()
    predicted, true = _bounds(prediction), _bounds(truth)
    moments = _Moments()
    moments.add(prediction.clip(*predicted), truth.clip(*true))
    found = _line(moments, "clipped_quantiles", data)
    stated = {"images": sample.images, "prediction_bounds": predicted, "truth_bounds": true}
    return Rescaling(found.gain, found.offset, found.record.model_copy(update=stated))


def _bounds(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, (LOWEST, HIGHEST))
    return float(low), float(high)


def _line(moments: _Moments, method: RescalingMethod, data: str) -> Rescaling:
    if not moments.images:
        raise _no_pairs(data)
    (predicted, both), (_, true) = moments.products
    if predicted <= 1e-12 * moments.pixels * max(moments.means[0] ** 2, 1e-6) or both <= 0:
        raise CannotCalibrate(
            f"expected predictions that rise with their ground truth, got a covariance of"
            f" {both / moments.pixels:g} and a variance of {predicted / moments.pixels:g} over"
            f" {moments.pixels} pixels of {data} ({method}): check that low and high images belong together"
            + (
                ""
                if method == "least_squares"
                else ", or use least_squares, because clipping removes sparse structure"
            )
        )
    gain = both / predicted
    unexplained = max(0.0, true - gain * both)
    record = RescalingRecord(
        method=method,
        data=data,
        images=moments.images,
        pixels=moments.pixels,
        r_squared=1 - float(unexplained / true),
        rms_error=float(np.sqrt(unexplained / moments.pixels)),
    )
    return Rescaling(float(gain), float(moments.means[1] - gain * moments.means[0]), record)


def _flat(prediction: NDArray[Any], truth: NDArray[Any]) -> tuple[Floats, Floats]:
    if prediction.shape != truth.shape or not prediction.size:
        raise CannotCalibrate(
            f"expected a prediction and a ground truth of one shape, got {prediction.shape} and {truth.shape}"
        )
    flat = prediction.ravel().astype(np.float64), truth.ravel().astype(np.float64)
    if not all(np.isfinite(values).all() for values in flat):
        raise CannotCalibrate("expected finite predictions and ground truths, got nan or infinity among them")
    return flat


def _no_pairs(data: str) -> CannotCalibrate:
    return CannotCalibrate(f"expected training pairs with clean images, got none from {data}")
