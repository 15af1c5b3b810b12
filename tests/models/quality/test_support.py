"""The support map: the paper's classes, what is predicted, and what no photons support."""

import numpy as np
import pytest
from scipy import ndimage

from dimstream_models.quality.support_map import (
    CLASS,
    DISAGREE,
    PREDICTED,
    UNSUPPORTED,
    all_unsupported,
    background_reach,
    mark_disagreement,
    support,
)


def _half_full(background: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts with a bright left half, a prediction that claims two bright discs, and where these are."""
    rng = np.random.default_rng(2)
    light = np.full((120, 160), background)
    light[:, :80] += 3
    prediction = np.zeros(light.shape)
    rows, columns = np.indices(light.shape)
    for column in (40, 120):
        prediction[(rows - 60) ** 2 + (columns - column) ** 2 < 15**2] = 1
    return rng.poisson(light), prediction, prediction > 0


@pytest.mark.parametrize("background", [0.01, 0.5, 3])
def test_what_stands_on_background_is_unsupported_however_bright_that_is(background: float) -> None:
    counts, prediction, discs = _half_full(background)
    found = support(counts, prediction, 10, 5, 25)
    assert found.unsupported_fraction == pytest.approx(0.5, abs=0.05)
    bits = found.classes
    assert ((bits & PREDICTED) > 0).sum() == discs.sum()
    right = discs & (np.indices(discs.shape)[1] > 90)
    left = discs & (np.indices(discs.shape)[1] < 70)
    assert ((bits[right] & UNSUPPORTED) > 0).mean() > 0.9
    assert ((bits[left] & UNSUPPORTED) > 0).mean() < 0.05


def test_classes_are_the_papers_window_sums() -> None:
    counts = np.random.default_rng(0).poisson(np.linspace(0, 0.5, 90), (50, 90))
    sums = np.rint(ndimage.uniform_filter(counts.astype(float), 10, mode="reflect") * 100)
    expected = np.select([sums <= 5, sums > 25], [0, 2], 1)
    found = support(counts, np.zeros(counts.shape), 10, 5, 25)
    np.testing.assert_array_equal(found.classes & CLASS, expected)
    assert found.unsupported_fraction == 0  # nothing is predicted
    assert set(np.unique(expected)) == {0, 1, 2}


@pytest.mark.parametrize("rate", [0.02, 0.3, 2, 20])
def test_the_reach_of_a_flat_background_holds_almost_all_of_it(rate: float) -> None:
    counts = np.random.default_rng(4).poisson(rate, (300, 300))
    sums = ndimage.uniform_filter(counts.astype(float), 10, mode="reflect") * 100
    assert (sums <= background_reach(counts, 10)).mean() > 0.97
    assert background_reach(counts, 10) < 100 * rate + 6 * np.sqrt(100 * rate) + 6


def test_without_structure_all_that_is_predicted_is_unsupported() -> None:
    bits = np.array([0, 1, 2, 4, 5, 6, 12, 14], np.uint8)
    np.testing.assert_array_equal(all_unsupported(bits), [0, 1, 2, 12, 13, 14, 12, 14])
    assert all_unsupported(bits).dtype == np.uint8


def test_of_what_the_halves_disagree_on_only_what_is_predicted_becomes_unsupported() -> None:
    bits = np.full((9, 9), PREDICTED, np.uint8)
    bits[0, 0] = 0
    similarity = np.ones((3, 3))
    similarity[0, 0] = DISAGREE - 0.01
    found = mark_disagreement(bits, similarity, 7)
    assert found[0, 0] == 0
    assert (found[:4, :4].ravel()[1:] == PREDICTED | UNSUPPORTED).all()
    assert (found[4:] == PREDICTED).all()
    assert (found[:, 4:] == PREDICTED).all()
