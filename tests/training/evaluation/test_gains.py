"""Margins with their standard errors, against numpy and against many draws of noise."""

import numpy as np
import pytest

from dimstream_models.training.evaluation.filters import fit_gain_and_offset, fitted_error, straight_line
from dimstream_models.training.evaluation.gains import Margin, margin


def test_a_margin_is_the_mean_of_decibels_with_its_standard_error() -> None:
    ours, other = np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 16.0])
    found = margin(ours.tolist(), other.tolist())
    decibels = 10 * np.log10(other / ours)
    assert found.db == pytest.approx(decibels.mean())
    assert found.error_db == pytest.approx(decibels.std(ddof=1) / np.sqrt(3))


def test_noise_of_the_truth_is_taken_off_and_the_standard_error_is_that_of_many_draws() -> None:
    rng, light = np.random.default_rng(0), np.full((40, 32, 32), 4.0)
    bias = np.sqrt(0.2), np.sqrt(0.4)  # of two restorations: 3 dB apart
    found = []
    for _ in range(200):
        truth = light + rng.normal(0, 2.0, light.shape)
        errors = [np.square(light + each - truth).mean(axis=(1, 2)).tolist() for each in bias]
        found.append(margin(*errors, noise=[4.0] * len(light)))
    db = np.array([each.db for each in found])
    assert db.mean() == pytest.approx(10 * np.log10(2), abs=0.1)
    assert np.mean([each.error_db for each in found]) == pytest.approx(db.std(), rel=0.25)


TOLD = {
    "better": (Margin(2.0, 0.1, 9), "better than X by 2.0 ± 0.1 dB"),
    "worse": (Margin(-2.0, 0.1, 9), "worse than X by 2.0 ± 0.1 dB"),
    "by chance": (Margin(0.15, 0.1, 9), "no different from X (+0.1 ± 0.1 dB)"),
    "a fine one": (Margin(-0.488, 0.021, 21), "worse than X by 0.49 ± 0.02 dB"),
    "a single image": (Margin(-0.6, None, 1), "worse than X by 0.6 dB"),
    "at the noise": (
        Margin(None, None, 9),
        "not distinguishable from X, because both errors are at the truth's own noise",
    ),
}


@pytest.mark.parametrize(("found", "said"), TOLD.values(), ids=TOLD)
def test_margins_are_said_with_their_uncertainty(found: Margin, said: str) -> None:
    assert found.than("X").startswith(said)


def test_below_the_noise_there_is_no_margin() -> None:
    assert margin([0.9, 1.0], [1.2, 1.4], noise=[1.0, 1.0]).db is None


def test_the_straight_line_is_numpys_and_flat_images_have_none() -> None:
    rng = np.random.default_rng(0)
    restored, truth = rng.normal(3, 2, (2, 4, 5)), rng.normal(1, 5, (2, 4, 5))
    assert straight_line(restored, truth) == pytest.approx(np.polyfit(restored.ravel(), truth.ravel(), 1))
    assert straight_line(np.full((4, 5), 7.0), truth[0]) == (0.0, pytest.approx(truth[0].mean()))
    expected = np.square(fit_gain_and_offset(restored, truth) - truth).mean()
    assert fitted_error(restored, truth) == pytest.approx(expected)
