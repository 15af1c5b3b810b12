"""Thresholds below which a frame is suspect, from movies with and without a sample: mainly of the SSIM of
adjacent predictions.

Source: the paper's Methods, "Quality control metrics": adjacent predictions of a movie with signal are
compared with those of a movie of the detector's dark noise. SSIM does not distinguish a sample from another
one: two fields of tubules are as similar as one field that moves. Their correlation does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_models.arithmetic import Float32, Normalisation, normalise_prediction
from dimstream_models.bundle import Calibration, ScoreCalibration, SsimSettings, Thresholds
from dimstream_models.ssim import ssim
from dimstream_models.training.calibration.scores import (
    FrameScores,
    ScoreThreshold,
    correlation_threshold,
    split_threshold,
    structure_threshold,
)
from dimstream_models.training.calibration.separation import Floats, area_under_curve, between, quantiles
from dimstream_models.training.errors import CannotCalibrate
from dimstream_models.training.prediction import Denoise

Movie = NDArray[Any]
"""Photon counts, (T, H, W)."""

SSIM_WINDOW = 7
MIN_FRAMES = 3  # fewest frames of a movie: two pairs
MIN_PAIRS = 3  # fewest pairs of each kind: with fewer, even perfect separation may be chance
CHANCE = 1.645  # standard deviations above 1/2 that are reached by chance in 5 % of cases
_STATISTIC: Mapping[Normalisation, str] = {
    "mean_absolute_deviation": "mean absolute deviation",
    "maximum": "maximum",
}


@dataclass(frozen=True)
class FlagThresholds:
    """Thresholds below which a frame is suspect: `value` for the SSIM of adjacent predictions, and other
    scores.

    Parameters
    ----------
    split : ScoreThreshold or None
        None for movies that are not photon counts.
    correlation : ScoreThreshold or None
        For adjacent predictions of the same structures; None for frames that are too small.
    """

    value: float
    settings: SsimSettings
    record: Calibration
    structure: ScoreThreshold
    split: ScoreThreshold | None
    correlation: ScoreThreshold | None

    def over(self, before: Thresholds) -> Thresholds:
        """Return a bundle's thresholds with these values; the thresholds of window sums are kept."""
        return before.model_copy(
            update={
                "ssim": self.value,
                "structure_score": self.structure.value,
                "split": None if self.split is None else self.split.value,
                "correlation": None if self.correlation is None else self.correlation.value,
            }
        )

    def records(self) -> dict[str, Calibration | ScoreCalibration | None]:
        """Return their calibration records, by name of the record in a bundle's configuration."""
        return {
            "calibration": self.record,
            "structure_calibration": self.structure.record,
            "split_calibration": None if self.split is None else self.split.record,
            "correlation_calibration": None if self.correlation is None else self.correlation.record,
        }


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Source of the movies, for the record."""

    movies: str  # "simulated signal movies and simulated empty fields"
    doses_photons: tuple[float, ...] = ()
    frame_interval_s: float | None = None
    seed: int | None = None
    note: str = ""
    one_field: bool = False  # signal movies may show the same field


def calibrate_flag(
    signal: Iterable[Movie],
    dark: Iterable[Movie],
    denoise: Denoise,
    scale: SsimSettings,
    *,
    false_alarm_rate: float,
    origin: Origin,
) -> FlagThresholds:
    """Return the thresholds between movies with and without a sample.

    That of SSIM is the middle between the dark movies' upper quantile and the signal movies' lower quantile,
    or the signal's quantile if these overlap. Each prediction is normalised separately, before rescaling.

    Parameters
    ----------
    signal, dark : iterable of (T, H, W) photon counts
        Read one by one.
    denoise : callable
        From counts to the normalised prediction.
    scale : SsimSettings
        How SSIM is calculated, here and in the server.
    false_alarm_rate : float
        Share of the signal pairs that may be below the threshold.

    Raises
    ------
    CannotCalibrate
        When a movie is too short, or the two kinds are not separated better than by chance.
    """
    seen, empty = FrameScores.of_movies(one_field=origin.one_field), FrameScores()
    alike = _similarities(signal, denoise, scale, "signal", seen)
    invented = _similarities(dark, denoise, scale, "dark", empty)
    auc = area_under_curve(alike, invented)
    _check_separation(alike, invented, auc)
    value = between(alike, [invented], false_alarm_rate)
    record = Calibration(
        method=f"SSIM of adjacent predictions, each normalised by its {_STATISTIC[scale.normalisation]}, of"
        f" {origin.movies}; the threshold is halfway between the signal's"
        f" {false_alarm_rate:g} and the empty fields' {1 - false_alarm_rate:g} quantile"
        " when they leave a gap, else the signal's quantile",
        signal_pairs=len(alike),
        dark_pairs=len(invented),
        signal_quantiles=quantiles(alike),
        dark_quantiles=quantiles(invented),
        false_alarm_rate=round(float(np.mean(alike < value)), 5),
        auc=round(auc, 5),
        doses_photons=origin.doses_photons,
        frame_interval_s=origin.frame_interval_s,
        seed=origin.seed,
        note=origin.note,
        chosen_false_alarm_rate=false_alarm_rate,
    )
    return FlagThresholds(
        value,
        scale,
        record,
        structure_threshold(seen, empty, false_alarm_rate, note=origin.note),
        split_threshold(seen, empty, scale, false_alarm_rate, note=origin.note),
        correlation_threshold(seen, empty, false_alarm_rate, note=origin.note),
    )


def ssim_settings(data_range: float) -> SsimSettings:
    """Return the settings of SSIM: each prediction is normalised by a robust statistic of its own.

    Parameters
    ----------
    data_range : float
        Data range in mean absolute deviations.
    """
    return SsimSettings(normalisation="mean_absolute_deviation", data_range=data_range, window=SSIM_WINDOW)


def normalised_predictions(movie: Movie, denoise: Denoise, scale: SsimSettings) -> list[Float32]:
    """Return the prediction (H, W) of each frame of a movie (T, H, W), normalised separately."""
    return [normalise_prediction(denoise(frame), scale.normalisation) for frame in movie]


def adjacent_similarity(planes: Sequence[Float32], scale: SsimSettings) -> list[float]:
    """Return the SSIM of every two adjacent normalised predictions (H, W)."""
    return [
        ssim(before, after, data_range=scale.data_range, window=scale.window)
        for before, after in pairwise(planes)
    ]


def _similarities(
    movies: Iterable[Movie], denoise: Denoise, scale: SsimSettings, kind: str, scores: FrameScores
) -> Floats:
    """Return the SSIM of all pairs of adjacent predictions, and add to the scores."""
    found: list[float] = []
    for movie in movies:
        if movie.ndim != 3 or len(movie) < MIN_FRAMES or min(movie.shape[1:]) < scale.window:
            raise CannotCalibrate(
                f"expected {kind} movies (T, H, W) of at least {MIN_FRAMES} frames, {scale.window} px a side,"
                f" got shape {movie.shape}: record a longer or larger one"
            )
        planes = normalised_predictions(movie, denoise, scale)
        found += adjacent_similarity(planes, scale)
        scores.add_pairs(planes)
        scores.add(movie, denoise, scale)
    if len(found) < MIN_PAIRS:
        raise CannotCalibrate(
            f"expected at least {MIN_PAIRS} pairs of adjacent {kind} frames, got {len(found)}:"
            " record a longer movie"
        )
    if not np.isfinite(found).all():
        raise CannotCalibrate(
            f"expected finite predictions of the {kind} movies, but the network gave nan or infinity"
        )
    return np.asarray(found)


def _check_separation(signal: Floats, dark: Floats, auc: float) -> None:
    """Refuse a separation that may be chance (normal approximation of the rank sum)."""
    spread = np.sqrt((len(signal) + len(dark) + 1) / (12 * len(signal) * len(dark)))
    if auc > 0.5 + CHANCE * spread:
        return
    raise CannotCalibrate(
        f"expected predictions of the signal movies to be more alike than those of the dark movies, got an"
        f" area under the curve of {auc:.3f}, no better than chance: SSIM of {_spread(signal)} for signal and"
        f" {_spread(dark)} for dark. Check that the movies are not swapped and that the dark movie was"
        " recorded without a sample"
    )


def _spread(values: Sequence[float] | Floats) -> str:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{low:.3f} / {middle:.3f} / {high:.3f} (5, 50, 95 % of {len(values)} pairs)"
