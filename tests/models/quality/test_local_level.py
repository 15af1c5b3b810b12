"""The level of the light around each pixel, and the structure that rises above it."""

import numpy as np
import pytest

from dimstream_models.quality.local_level import (
    CELL_PX,
    CELLS,
    STEEPNESS,
    local_level,
    predicted_structure,
)


def _bumps(shape: tuple[int, int]) -> np.ndarray:
    """Six round bumps of height 1 and a standard deviation of 2 px."""
    rows, columns = np.indices(shape)
    image = np.zeros(shape)
    for row, column in np.random.default_rng(3).uniform(0, 1, (6, 2)) * shape:
        image += np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)
    return image


def test_the_level_is_a_ridge_regression_on_the_cells_around() -> None:
    rng = np.random.default_rng(0)
    values, counted = rng.normal(3, 1, (72, 88)), rng.random((72, 88)) < 0.4
    cells = [each.reshape(9, 8, 11, 8).sum(axis=(1, 3)) for each in (counted, values * counted)]
    row, column = 0, 0  # in the corner pixels have their own cell's level
    weights, places, means = [], [], []
    for y in range(-(CELLS // 2), CELLS // 2 + 1):
        for x in range(-(CELLS // 2), CELLS // 2 + 1):
            if 0 <= row + y < 9 and 0 <= column + x < 11:
                weights.append(cells[0][row + y, column + x])
                places.append((y, x))
                means.append(cells[1][row + y, column + x] / weights[-1])
    w, p, v = np.array(weights), np.array(places, float), np.array(means)
    middle, mean = w @ p / w.sum(), w @ v / w.sum()
    inner = (w[:, None] * (p - middle)).T @ (p - middle) / w.sum() + STEEPNESS * np.eye(2)
    slope = np.linalg.solve(inner, (w * (v - mean)) @ (p - middle) / w.sum())
    expected = mean - slope @ middle
    np.testing.assert_allclose(local_level(values, counted)[:4, :4], expected, atol=1e-9)


def test_a_ramp_is_level_up_to_the_border() -> None:
    rows, columns = np.indices((200, 170))
    ramp = 0.5 + 0.03 * rows - 0.01 * columns
    error = np.abs(local_level(ramp, np.ones(ramp.shape, bool)) - ramp)
    assert error.max() < 0.03 * CELL_PX  # at the border; a window's mean is off by 0.03 x 20
    assert error[24:-24, 24:-24].max() < 1e-9


@pytest.mark.parametrize("slope", [0.0, 0.01])
def test_structure_is_found_on_any_slope_and_scale(slope: float) -> None:
    bumps = _bumps((120, 150))
    image = bumps + slope * np.indices(bumps.shape)[0]
    found = predicted_structure(image)
    assert (found[bumps > 0.5] > 0).all()
    assert (found[24:-24, 24:-24][bumps[24:-24, 24:-24] < 0.01] > 0).mean() < 0.01
    np.testing.assert_allclose(predicted_structure(400 * image - 7), 400 * found, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1e-3, 5.0, -40.0])
def test_a_flat_image_shows_none(value: float) -> None:
    assert not predicted_structure(np.full((50, 41), value, np.float32)).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (8, 8), (17, 40)])
def test_small_images_have_a_level(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).random(shape)
    level = local_level(image, np.ones(shape, bool))
    assert level.shape == shape
    assert 0 <= level.min() <= level.max() <= 1
    assert np.isfinite(local_level(image, np.zeros(shape, bool))).all()
