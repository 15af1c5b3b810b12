"""Rescaling and threshold against answers that are known beforehand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from dimstream_models.bundle import SsimSettings
from dimstream_models.training.calibration.threshold import (
    adjacent_similarity,
    area_under_curve,
    calibrate_ssim,
    fit_rescaling,
)
from dimstream_models.training.settings import Recipe


def test_rescaling_recovers_a_known_scale(tiny_recipe: Recipe) -> None:
    def denoise(counts: NDArray[np.uint16]) -> NDArray[np.float32]:
        return (counts / 4.0 + 0.5).astype(np.float32)  # a "network" that only rescales

    bright = tiny_recipe.model_copy(
        update={"calibration": tiny_recipe.calibration.model_copy(update={"dose": (80.0, 90.0)})}
    )
    rescaling = fit_rescaling(bright, denoise, fields=6)  # so bright that photon noise hardly matters
    assert rescaling.gain == pytest.approx(4 * 70, rel=0.02)
    assert rescaling.offset == pytest.approx(-0.5 * 4 * 70, abs=60)  # 1 % of a tubule's high-dose counts


def test_area_under_curve_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    signal, dark = rng.integers(0, 9, 40) + 2.0, rng.integers(0, 9, 30) + 0.0
    pairs = signal[:, None] - dark
    assert area_under_curve(signal, dark) == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


def test_adjacent_similarity_is_scikit_images_on_normalised_predictions() -> None:
    movie = np.random.default_rng(1).poisson(3.0, (3, 40, 48)).astype(np.uint16)
    scale = SsimSettings(normalisation="mean_absolute_deviation", data_range=8.0, window=7)
    found = adjacent_similarity(movie, lambda x: x.astype(np.float32), scale)
    planes = [(f - f.mean()) / np.abs(f - f.mean()).mean() for f in movie.astype(float)]
    expected = [structural_similarity(planes[i], planes[i + 1], data_range=8.0) for i in range(2)]
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_threshold_separates_what_can_be_separated(tiny_recipe: Recipe) -> None:
    clear = tiny_recipe.model_copy(
        update={
            "calibration": tiny_recipe.calibration.model_copy(
                update={"dose": (80.0, 90.0), "dark_counts": (0.3, 0.5), "ssim_data_range": 8.0}
            )
        }
    )
    threshold, _, record = calibrate_ssim(clear, lambda x: x.astype(np.float32))
    assert record.dark_quantiles["1"] < threshold < record.signal_quantiles["0"]
    assert (record.auc, record.false_alarm_rate) == (1.0, 0.0)
    assert record.signal_pairs == record.dark_pairs == 4
