"""The support map: the paper's classes, what is predicted, and what no photons support."""

import numpy as np
import pytest
from scipy import ndimage

from dimstream_models.quality.support_map import (
    CLASS,
    LEAST_EXPECTED,
    PREDICTED,
    UNSUPPORTED,
    all_unsupported,
    support,
    supported_pixels,
    unsupported_share,
    without_hot_pixels,
)

SHAPE = (160, 240)


def _lines(seed: int, count: int = 12) -> np.ndarray:
    """Straight tubules with a profile of 2 px standard deviation and a peak of 1."""
    rng, (rows, columns) = np.random.default_rng(seed), np.indices(SHAPE)
    image = np.zeros(SHAPE)
    for _ in range(count):
        angle, row, column = rng.uniform(0, np.pi), rng.uniform(0, SHAPE[0]), rng.uniform(0, SHAPE[1])
        along = (rows - row) * np.sin(angle) + (columns - column) * np.cos(angle)
        across = (rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)
        image = np.maximum(image, np.exp(-(across**2) / 8) * (np.abs(along) < 30))
    return image


def _background(kind: str, level: float) -> np.ndarray:
    across = np.linspace(-1, 1, SHAPE[1])
    shape = {"flat": 1 + 0 * across, "ramp": 1 + 0.8 * across, "vignette": 1 - 0.7 * across**2}[kind]
    return np.broadcast_to(level * shape, SHAPE)


@pytest.mark.parametrize("kind", ["flat", "ramp", "vignette"])
@pytest.mark.parametrize(("light", "level"), [(0.5, 0.02), (1.0, 0.5), (5.0, 5.0), (30.0, 3.0)])
def test_tubules_that_are_lit_are_supported_and_invented_ones_are_not(
    kind: str, light: float, level: float
) -> None:
    real, invented = _lines(1), _lines(2)
    invented[ndimage.maximum_filter(real, 25) > 0.1] = 0
    counts = np.random.default_rng(5).poisson(light * real + _background(kind, level))
    bits = support(counts, real + invented, 10, 5, 25).classes
    predicted, unsupported = (bits & PREDICTED) > 0, (bits & UNSUPPORTED) > 0
    assert predicted[real > 0.6].all()
    assert unsupported[predicted & (real > 0.3)].mean() < 0.03
    assert unsupported[predicted & (invented > 0.3)].mean() > 0.95
    assert not (unsupported & ~predicted).any()


@pytest.mark.parametrize("level", [0.05, 0.5, 5.0])
def test_by_chance_few_places_seem_supported(level: float) -> None:
    """The prediction is what the network would make of other photons, so chance alone decides."""
    rng, found = np.random.default_rng(9), []
    for seed in range(8):
        structure = _lines(seed)
        structure[structure < 0.1] = 0
        excess = 6 * np.sqrt(level + 0.1)  # photons at a peak that half of the predicted tubules have
        light = excess * np.where(np.arange(SHAPE[1]) < SHAPE[1] // 2, structure, 0)
        seen = supported_pixels(rng.poisson(level + light), structure)
        found.append(seen[:, SHAPE[1] // 2 + 20 :][structure[:, SHAPE[1] // 2 + 20 :] > 0].mean())
    assert np.mean(found) < 1 / 44


def test_faint_structure_that_noise_could_be_is_not_supported_even_where_photons_are() -> None:
    structure, level = _lines(4), 2.0
    structure[structure < 0.1] = 0
    rng = np.random.default_rng(2)
    bright, faint = (
        supported_pixels(rng.poisson(level + light * structure), structure)[structure > 0.5].mean()
        for light in (2.0, 0.15)
    )
    assert bright > 0.99
    assert faint < 0.1
    assert LEAST_EXPECTED > 3


def test_hot_pixels_support_nothing() -> None:
    rng = np.random.default_rng(6)
    counts = rng.poisson(0.02, SHAPE)
    hot = rng.random(SHAPE) < 5e-4
    counts[hot] = rng.integers(5, 500, hot.sum())
    prediction = ndimage.gaussian_filter(np.minimum(counts, 30.0), 1.5)
    bits = support(counts, prediction, 10, 5, 25).classes
    predicted = (bits & PREDICTED) > 0
    assert predicted[hot].all()
    assert ((bits & UNSUPPORTED) > 0)[predicted].mean() > 0.9
    assert without_hot_pixels(counts).max() < 5


@pytest.mark.parametrize("light", [0.3, 3, 300])
def test_light_of_a_point_spread_function_is_no_hot_pixel(light: float) -> None:
    image = np.zeros(SHAPE)
    image[20::40, 20::40] = light * 2 * np.pi * 1.5**2
    counts = np.random.default_rng(3).poisson(ndimage.gaussian_filter(image, 1.5) + 0.01)
    assert without_hot_pixels(counts).sum() > 0.97 * counts.sum()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e9])
def test_predictions_have_no_unit(scale: float) -> None:
    real = _lines(1)
    counts = np.random.default_rng(5).poisson(0.4 * real + 0.1)
    expected = support(counts, real, 10, 5, 25)
    found = support(counts, scale * (real + 0.3), 10, 5, 25)
    np.testing.assert_array_equal(found.classes, expected.classes)
    assert found.unsupported_fraction == pytest.approx(expected.unsupported_fraction)
    assert unsupported_share(real, expected.classes) == pytest.approx(expected.unsupported_fraction)
    assert 0 < expected.unsupported_fraction < 0.3


def test_classes_are_the_papers_window_sums() -> None:
    counts = np.random.default_rng(0).poisson(np.linspace(0, 0.5, 90), (50, 90))
    sums = np.rint(ndimage.uniform_filter(counts.astype(float), 10, mode="reflect") * 100)
    expected = np.select([sums <= 5, sums > 25], [0, 2], 1)
    found = support(counts, np.zeros(counts.shape), 10, 5, 25)
    np.testing.assert_array_equal(found.classes & CLASS, expected)
    assert found.unsupported_fraction == 0  # nothing is predicted
    assert set(np.unique(expected)) == {0, 1, 2}


@pytest.mark.parametrize("offset", [0, -30])
def test_frames_without_light_or_below_zero_support_nothing(offset: int) -> None:
    found = support(np.full(SHAPE, offset), _lines(1), 10, 5, 25)
    assert found.unsupported_fraction == 1


def test_without_structure_all_that_is_predicted_is_unsupported() -> None:
    bits = np.array([0, 1, 2, 4, 5, 6, 12, 14], np.uint8)
    np.testing.assert_array_equal(all_unsupported(bits), [0, 1, 2, 12, 13, 14, 12, 14])
    assert all_unsupported(bits).dtype == np.uint8
