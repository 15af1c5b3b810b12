"""Scores of single frames that need no neighbour, told apart with and without a sample.

The structure score of the raw frame (`dimstream_models.evidence.structure`) and the SSIM of the
predictions of both halves of its photons (`dimstream_models.evidence.photons`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import normalise_prediction, ssim
from dimstream_models.bundle import ScoreCalibration, SsimSettings
from dimstream_models.evidence.photons import no_photons, split_photons
from dimstream_models.evidence.structure import structure_score
from dimstream_models.judging import FIVE_SIGMA
from dimstream_models.training.calibration.separation import (
    Floats,
    area_under_curve,
    between,
    quantiles,
)
from dimstream_models.training.prediction import Denoise

SPLIT_EVERY = 4  # frames of a movie: a split costs two inferences


@dataclass(frozen=True)
class ScoreThreshold:
    """Frames that score less than `value` are suspect."""

    value: float
    record: ScoreCalibration


@dataclass
class FrameScores:
    """Scores of the frames of all movies of one kind, with a sample or without.

    Parameters
    ----------
    no_photons : str or None
        Why the first frame whose photons could not be split was refused.
    """

    structure: list[float] = field(default_factory=list)
    split: list[float] = field(default_factory=list)
    no_photons: str | None = None

    def add(self, movie: NDArray[Any], denoise: Denoise, scale: SsimSettings) -> None:
        """Score the frames of a movie (T, H, W)."""
        self.structure += [structure_score(frame) for frame in movie]
        for place, frame in enumerate(movie[::SPLIT_EVERY]):
            self.no_photons = self.no_photons or no_photons(frame)
            if self.no_photons is None:
                halves = (
                    normalise_prediction(denoise(one), scale.normalisation)
                    for one in split_photons(frame, place)
                )
                self.split.append(ssim(*halves, data_range=scale.data_range, window=scale.window))


def structure_threshold(signal: FrameScores, dark: FrameScores, rate: float, *, note: str) -> ScoreThreshold:
    """Return five standard errors where they lie between both kinds, else what separates them best."""
    alike, empty = np.asarray(signal.structure), np.asarray(dark.structure)
    floor, ceiling = float(np.quantile(alike, rate)), float(np.quantile(empty, 1 - rate))
    value = FIVE_SIGMA if ceiling < FIVE_SIGMA <= floor else between(alike, empty, rate)
    method = (
        "structure score of the raw frames, in standard errors of noise; five where they lie between the"
        f" empty fields' {1 - rate:g} and the signal's {rate:g} quantile"
    )
    return _threshold(value, alike, empty, method, note)


def split_threshold(
    signal: FrameScores, dark: FrameScores, rate: float, *, note: str
) -> ScoreThreshold | None:
    """Return the threshold between both kinds; None when the frames are no photon counts."""
    if signal.no_photons or dark.no_photons or not signal.split or not dark.split:
        return None
    alike, empty = np.asarray(signal.split), np.asarray(dark.split)
    method = (
        "SSIM of the predictions of both halves of a frame's photons; halfway between the signal's"
        f" {rate:g} and the empty fields' {1 - rate:g} quantile when they leave a gap, else the signal's"
    )
    return _threshold(between(alike, empty, rate), alike, empty, method, note)


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
