"""Scores besides the SSIM of adjacent predictions: with a sample, without one, and with another sample.

They are the structure score of the raw frame (`dimstream_models.quality.structure`), the SSIM of the
predictions of both halves of its photons (`dimstream_models.quality.split_photon_check`), and the correlation
of adjacent predictions (`dimstream_models.quality.alignment`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Float32, normalise_prediction
from dimstream_models.bundle import ScoreCalibration, SsimSettings
from dimstream_models.judging import FIVE_SIGMA
from dimstream_models.quality.alignment import (
    OVERVIEW_PX,
    SMALLEST_SIDE,
    Overview,
    correlation_between,
    shift_between,
)
from dimstream_models.quality.split_photon_check import halve_photons, no_photons
from dimstream_models.quality.structure import structure_score
from dimstream_models.ssim import ssim
from dimstream_models.training.calibration.other_fields import OtherFields
from dimstream_models.training.calibration.separation import (
    Floats,
    area_under_curve,
    between,
    quantiles,
)
from dimstream_models.training.prediction import Denoise

SMALLEST_PX = OVERVIEW_PX * SMALLEST_SIDE  # smallest side for which the correlation is measured
SPLIT_EVERY = 4  # frames of a movie that are split, because a split costs two inferences


@dataclass(frozen=True)
class ScoreThreshold:
    """Threshold of a score; frames with less than `value` are suspect."""

    value: float
    record: ScoreCalibration


@dataclass
class FrameScores:
    """Scores of all movies of one kind, with a sample or without.

    Parameters
    ----------
    no_photons : str or None
        Why the photons of the first refused frame could not be split.
    """

    structure: list[float] = field(default_factory=list)
    split: list[float] = field(default_factory=list)
    correlation: list[float] = field(default_factory=list)
    no_photons: str | None = None
    other_frames: OtherFields = field(default_factory=OtherFields)
    other_halves: OtherFields = field(default_factory=OtherFields)

    @classmethod
    def of_movies(cls, *, one_field: bool) -> FrameScores:
        """Return empty scores, for movies of different fields or, with `one_field`, possibly of the same
        field."""
        return cls(other_frames=OtherFields(one_field), other_halves=OtherFields(one_field))

    def add_pairs(self, planes: Sequence[Float32]) -> None:
        """Score every two adjacent normalised predictions (H, W) of a movie."""
        self.other_frames.add([(plane, plane) for plane in planes])
        if min(planes[0].shape) >= SMALLEST_PX:
            self.correlation += [_correlation(before, after) for before, after in pairwise(planes)]

    def add(self, movie: NDArray[Any], denoise: Denoise, scale: SsimSettings) -> None:
        """Score the frames of a movie (T, H, W)."""
        self.structure += [structure_score(frame) for frame in movie]
        kept = []
        for place, frame in enumerate(movie[::SPLIT_EVERY]):
            self.no_photons = self.no_photons or no_photons(frame)
            if self.no_photons is None:
                first, second = (
                    normalise_prediction(denoise(one), scale.normalisation)
                    for one in halve_photons(frame, place)
                )
                self.split.append(ssim(first, second, data_range=scale.data_range, window=scale.window))
                kept.append((first, second))
        self.other_halves.add(kept)


def structure_threshold(signal: FrameScores, dark: FrameScores, rate: float, *, note: str) -> ScoreThreshold:
    """Return five standard errors if they are between both kinds, otherwise the value that separates them
    best."""
    alike, empty = np.asarray(signal.structure), np.asarray(dark.structure)
    floor, ceiling = float(np.quantile(alike, rate)), float(np.quantile(empty, 1 - rate))
    value = FIVE_SIGMA if ceiling < FIVE_SIGMA <= floor else between(alike, [empty], rate)
    method = (
        "structure score of the raw frames, in standard errors of noise; five if they are between the empty "
        f"fields' {1 - rate:g} and the signal's {rate:g} quantile"
    )
    return _threshold(value, alike, empty, method, note)


def split_threshold(
    signal: FrameScores, dark: FrameScores, scale: SsimSettings, rate: float, *, note: str
) -> ScoreThreshold | None:
    """Return the threshold between halves of one frame, and halves of empty or of different fields.

    None when the frames are not photon counts.
    """
    if signal.no_photons or dark.no_photons or not signal.split or not dark.split:
        return None
    alike, empty = np.asarray(signal.split), np.asarray(dark.split)
    unrelated = signal.other_halves.compare(
        lambda first, second: ssim(first, second, data_range=scale.data_range, window=scale.window)
    )
    method = (
        "SSIM of the predictions of both halves of a frame's photons; halfway between the signal's"
        f" {rate:g} quantile and the higher {1 - rate:g} quantile of empty fields and of halves of two"
        " different fields when they leave a gap, else the signal's"
    )
    return _third_class(alike, empty, np.asarray(unrelated), rate, method, note)


def correlation_threshold(
    signal: FrameScores, dark: FrameScores, rate: float, *, note: str
) -> ScoreThreshold | None:
    """Return the threshold between pairs of one sample, and pairs of empty or of different fields.

    None when the frames are too small.
    """
    if not signal.correlation or not dark.correlation:
        return None
    unrelated = signal.other_frames.compare(_correlation)
    method = (
        "correlation of adjacent predictions, each minus its local mean; halfway between the signal's"
        f" {rate:g} quantile and the higher {1 - rate:g} quantile of empty fields and of pairs of two"
        " different fields when they leave a gap, else the signal's"
    )
    alike, empty = np.asarray(signal.correlation), np.asarray(dark.correlation)
    return _third_class(alike, empty, np.asarray(unrelated), rate, method, note)


def _correlation(before: Float32, after: Float32) -> float:
    """Correlation as in the server; 0 if the common part of two movies is too small."""
    old, new = Overview.of(before), Overview.of(after)
    return correlation_between(old, new, shift_between(old, new)) or 0.0


def _third_class(
    alike: Floats, empty: Floats, unrelated: Floats, rate: float, method: str, note: str
) -> ScoreThreshold:
    value = between(alike, [empty, unrelated], rate)
    found = _threshold(value, alike, empty, method, note)
    stated = {
        "unrelated_frames": len(unrelated),
        "unrelated_quantiles": quantiles(unrelated),
        "unrelated_rate": round(float(np.mean(unrelated >= value)), 5),
    }
    return ScoreThreshold(value, found.record.model_copy(update=stated))


def _threshold(value: float, signal: Floats, dark: Floats, method: str, note: str) -> ScoreThreshold:
    record = ScoreCalibration(
        method=method,
        signal_frames=len(signal),
        dark_frames=len(dark),
        signal_quantiles=quantiles(signal),
        dark_quantiles=quantiles(dark),
        false_alarm_rate=round(float(np.mean(signal < value)), 5),
        auc=round(area_under_curve(signal, dark), 5),
        note=note,
    )
    return ScoreThreshold(value, record)
