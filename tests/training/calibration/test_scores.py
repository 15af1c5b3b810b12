"""Thresholds of the scores of single frames, on movies whose answer is known."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.training.calibration.scores import (
    SPLIT_EVERY,
    FrameScores,
    correlation_threshold,
    split_threshold,
    structure_threshold,
)
from dimstream_models.training.calibration.separation import between
from dimstream_models.training.calibration.threshold import normalised_predictions, ssim_settings

SCALE = ssim_settings(8.0)


def _smooth(counts: NDArray[np.uint16]) -> NDArray[np.float32]:
    return np.asarray(ndimage.gaussian_filter(counts.astype(np.float32), 1.5))


def _movie(light: float, frames: int = 9, seed: int = 0, *, field: int = 1) -> NDArray[np.uint16]:
    """Blurred points of `light` photons on average, on 0.2 counts of background."""
    bright = np.random.default_rng(field).random((96, 96)) < 0.02
    points = ndimage.gaussian_filter(bright.astype(float), 2.0)
    expected = 0.2 + light * points / points.mean()
    return np.random.default_rng(seed).poisson(expected, (frames, 96, 96)).astype(np.uint16)


def _scores(*movies: NDArray[np.uint16]) -> FrameScores:
    scores = FrameScores()
    for movie in movies:
        scores.add_pairs(normalised_predictions(movie, _smooth, SCALE))
        scores.add(movie, _smooth, SCALE)
    return scores


def test_five_standard_errors_stand_where_they_part_both_kinds() -> None:
    found = structure_threshold(_scores(_movie(2.0)), _scores(_movie(0.0)), 0.01, note="points")
    assert found.value == 5.0
    assert (found.record.signal_frames, found.record.dark_frames) == (9, 9)
    assert (found.record.auc, found.record.false_alarm_rate, found.record.note) == (1.0, 0.0, "points")
    assert found.record.dark_quantiles["1"] < 5 < found.record.signal_quantiles["0"]


def test_noise_that_is_shared_by_neighbours_moves_the_threshold_up() -> None:
    """A file whose frames were smoothed before they came: noise scores high, structure higher."""
    blurred = [
        np.rint(ndimage.uniform_filter(_movie(light).astype(float) * 9, (1, 3, 3))) for light in (0, 4)
    ]
    dark, signal = (_scores(movie.astype(np.uint16)) for movie in blurred)
    found = structure_threshold(signal, dark, 0.01, note="")
    assert min(dark.structure) > 5
    assert max(dark.structure) < found.value < min(signal.structure)
    assert found.value == between(np.asarray(signal.structure), [np.asarray(dark.structure)], 0.01)


def test_halves_of_photons_part_both_kinds() -> None:
    signal, dark = _scores(_movie(4.0)), _scores(_movie(0.0))
    found = split_threshold(signal, dark, SCALE, 0.01, note="")
    assert found is not None
    assert len(signal.split) == -(-9 // SPLIT_EVERY)
    assert max(dark.split) < found.value < min(signal.split)
    assert found.record.auc == 1.0


def test_without_photons_there_is_no_threshold_of_their_halves() -> None:
    camera = (_movie(4.0) * 5 + 100).astype(np.uint16)
    signal = _scores(camera)
    assert signal.no_photons is not None
    assert "no photon counts" in signal.no_photons
    assert split_threshold(signal, _scores(_movie(0.0)), SCALE, 0.01, note="") is None


@pytest.mark.parametrize("fields", [(1,), (1, 2, 3, 4)], ids=["mirrored frames", "other movies"])
def test_correlation_parts_the_same_field_from_none_and_from_others(fields: tuple[int, ...]) -> None:
    signal = _scores(*(_movie(4.0, field=field) for field in fields))
    dark = _scores(_movie(0.0))
    found = correlation_threshold(signal, dark, 0.01, note="points")
    assert found is not None
    record = found.record
    assert len(signal.correlation) == record.signal_frames == 8 * len(fields)
    assert max(dark.correlation) < found.value < min(signal.correlation)
    assert record.unrelated_frames == (12 if len(fields) == 1 else 24)
    assert record.unrelated_quantiles is not None
    assert record.unrelated_quantiles["1"] < found.value
    assert (record.unrelated_rate, record.false_alarm_rate, record.auc) == (0.0, 0.0, 1.0)


def test_frames_that_are_too_small_have_no_correlation() -> None:
    signal, dark = (_scores(_movie(light)[:, :31, :31]) for light in (4.0, 0.0))
    assert correlation_threshold(signal, dark, 0.01, note="") is None


@pytest.mark.parametrize(
    ("signal", "others", "expected"),
    [((4, 5, 6), [(0, 1, 2)], 3.0), ((1, 5), [(0, 3)], 1.0), ((4, 5), [(0, 1), (2, 3)], 3.5)],
)
def test_the_threshold_is_halfway_in_a_gap_else_at_the_signal(
    signal: tuple[float, ...], others: list[tuple[float, ...]], expected: float
) -> None:
    found = between(np.asarray(signal, float), [np.asarray(one, float) for one in others], 1e-9)
    assert found == pytest.approx(expected)
