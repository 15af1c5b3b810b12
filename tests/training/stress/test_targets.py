"""Structures by formula, against the same blurred number by number on a fine grid."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.training.stress import scenes
from dimstream_models.training.stress.scenes import dot, line, ring

FINE = 11  # sub-pixels a side, odd: one lies in the middle of a pixel
SIGMA = 1.55


def fine_image(points: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Light 1 at each point (n, 2), blurred on the fine grid: the density at each sub-pixel."""
    image = np.zeros((side * FINE, side * FINE))
    index = np.round(points * FINE + (FINE - 1) / 2).astype(int)
    np.add.at(image, (index[:, 0], index[:, 1]), 1.0)
    return np.asarray(ndimage.gaussian_filter(image, SIGMA * FINE, truncate=6)) * FINE**2


def middles(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return image[FINE // 2 :: FINE, FINE // 2 :: FINE]


def test_a_dot_is_integrated_over_its_pixels() -> None:
    place = np.array([15.0 + 2 / FINE, 14.0 - 3 / FINE])
    blurred = fine_image(place[None], 32)
    binned = blurred.reshape(32, FINE, 32, FINE).mean(axis=(1, 3))
    assert dot((32, 32), place, SIGMA) == pytest.approx(binned * 2 * np.pi * SIGMA**2, abs=2e-3)
    assert dot((32, 32), place, SIGMA).sum() == pytest.approx(2 * np.pi * SIGMA**2, rel=1e-6)


def test_a_line_is_a_row_of_points() -> None:
    start, end = np.array([10.0, 8.0]), np.array([21.0, 24.0])
    along = np.linspace(0, 1, 2001)[:, None]
    blurred = fine_image(start + along * (end - start), 32) * np.hypot(*(end - start)) / 2001
    expected = middles(blurred) * np.sqrt(2 * np.pi) * SIGMA
    assert line((32, 32), start, end, SIGMA) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("radius", [1.5, 4.0, 6.0])
def test_a_ring_is_a_circle_of_points(radius: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 3000, endpoint=False)
    points = 16 + radius * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    expected = middles(fine_image(points, 33))
    assert ring((33, 33), np.array([16.0, 16.0]), radius, SIGMA) == pytest.approx(
        expected / expected.max(), abs=0.04
    )


def test_places_lie_where_the_structures_are() -> None:
    rng = np.random.default_rng(2)
    between = scenes.dots(rng, 12.0, SIGMA)
    assert between.read(between.light)[:, [0, 2]] == pytest.approx(0.9, abs=0.1)
    assert between.read(between.light)[:, 1].max() < 0.01
    broken = scenes.gaps(rng, 12.0, SIGMA, 20.0)
    assert broken.read(broken.light)[:, [0, 2]].min() > 0.9
    assert broken.read(broken.light)[:, 1].max() < 0.01
    whole = scenes.gaps(rng, 0.0, SIGMA, 20.0)
    assert whole.read(whole.light).min() > 0.9
    hollow = scenes.rings(rng, 12.0, SIGMA)
    assert hollow.read(hollow.light)[:, 1:].min() > 0.9
    assert hollow.read(hollow.light)[:, 0].max() < 0.05
    pair = scenes.tubule_pairs(rng, 12.0, SIGMA)
    assert pair.read(pair.light)[:, [0, 2]].min() > 0.9
    assert pair.read(pair.light)[:, 1].max() < 0.01
    single = scenes.puncta(rng, SIGMA)
    assert single.light.sum() == pytest.approx(len(single.places), rel=1e-3)
