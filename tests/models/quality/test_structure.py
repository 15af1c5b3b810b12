"""The structure score: about normal for noise of any kind, high for anything that light has drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.quality.structure import DETAIL_PX, sigma_clipped, structure_score

Array = NDArray[Any]
Noise = Callable[[np.random.Generator], Array]
SHAPE = (256, 256)
ROWS, COLUMNS = np.indices(SHAPE) / 256


def _hot_pixels(rng: np.random.Generator) -> Array:
    frame = rng.poisson(0.02, SHAPE)
    frame[rng.integers(0, 256, 8), rng.integers(0, 256, 8)] = 60000
    return frame


def _hot_cluster(rng: np.random.Generator) -> Array:
    frame = rng.poisson(0.02, SHAPE)
    frame[50:53, 60:63] = 500
    return frame


def _after_pulsing(rng: np.random.Generator) -> Array:
    """A fifth of the counts come twice, the second time in the next pixel of the fast axis."""
    counts = rng.poisson(0.2, SHAPE)
    again = rng.binomial(counts, 0.2)
    counts[:, 1:] += again[:, :-1]
    return counts


EMPTY: dict[str, Noise] = {
    "faint": lambda rng: rng.poisson(0.003, SHAPE),
    "dark": lambda rng: rng.poisson(0.05, SHAPE),
    "bright": lambda rng: rng.poisson(2, SHAPE),
    "very bright": lambda rng: rng.poisson(100, SHAPE),
    "shaded": lambda rng: rng.poisson(2 - 2 * ((ROWS - 0.5) ** 2 + (COLUMNS - 0.5) ** 2)),
    "ramp": lambda rng: rng.poisson(2 * (0.3 + 1.4 * COLUMNS)),
    "fixed pattern": lambda rng: rng.poisson(5 * rng.lognormal(0, 0.5, SHAPE)),
    "row flicker": lambda rng: rng.poisson(0.5 * rng.lognormal(0, 0.3, (256, 1)) * np.ones(SHAPE)),
    "column pattern": lambda rng: rng.poisson(0.5 * rng.lognormal(0, 0.3, 256) * np.ones(SHAPE)),
    "camera": lambda rng: np.rint(rng.normal(256, 10.7, SHAPE)),
    "hot pixels": _hot_pixels,
    "hot cluster": _hot_cluster,
    "after-pulsing": _after_pulsing,
}


@pytest.mark.parametrize("noise", EMPTY.values(), ids=EMPTY)
def test_noise_of_any_kind_scores_about_zero(noise: Noise) -> None:
    rng = np.random.default_rng(8)
    scores = [structure_score(noise(rng)) for _ in range(12)]
    assert max(scores) < 4
    assert abs(np.mean(scores)) < 1.6


@pytest.mark.slow
def test_scores_of_photon_noise_are_standard_normal() -> None:
    rng = np.random.default_rng(3)
    scores = [structure_score(rng.poisson(0.5, (96, 96))) for _ in range(400)]
    assert np.mean(scores) == pytest.approx(0, abs=0.3)
    assert np.std(scores) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("rate", [0.0002, 0.001, 0.003])
@pytest.mark.parametrize("shape", [(64, 64), (127, 129), pytest.param((250, 243), marks=pytest.mark.slow)])
def test_a_handful_of_photons_is_no_structure(rate: float, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(11)
    assert max(structure_score(rng.poisson(rate, shape)) for _ in range(150)) < 5


def test_lines_of_one_photon_score_far_above_noise() -> None:
    rng = np.random.default_rng(5)
    lines = np.zeros(SHAPE)
    for _ in range(25):
        start, end = rng.uniform(0, 255, (2, 2))
        places = np.rint(start + (end - start) * np.linspace(0, 1, 600)[:, None]).astype(int)
        lines[places[:, 0], places[:, 1]] = 1
    blurred = ndimage.gaussian_filter(lines, 2.0)
    light = blurred / np.quantile(blurred[lines > 0], 0.5)
    assert structure_score(rng.poisson(light + 0.02)) > 15
    assert structure_score(rng.poisson(light + 0.5)) > 6


def test_the_score_equals_a_loop_over_neighbours() -> None:
    frame = np.random.default_rng(1).poisson(3, (30, 41)).astype(float)
    clipped = sigma_clipped(frame)
    total = ndimage.uniform_filter(clipped, DETAIL_PX, mode="constant")
    near = clipped - total / ndimage.uniform_filter(np.ones_like(frame), DETAIL_PX, mode="constant")
    detail = near - near.mean(axis=1, keepdims=True)
    detail -= detail.mean(axis=0, keepdims=True)
    lags = [(dy, dx) for dy in (-2, -1, 1, 2) for dx in (-2, -1, 1, 2)]
    products, pairs = 0.0, 0
    for y, x in np.ndindex(frame.shape):
        for dy, dx in lags:
            if 0 <= y + dy < 30 and 0 <= x + dx < 41:
                products += detail[y, x] * detail[y + dy, x + dx]
                pairs += 1
    blocks = (detail**2)[:28, :40].reshape(7, 4, 10, 4)
    near = (blocks.sum(axis=(1, 3)) ** 2).mean() - 16 * (detail[:28, :40] ** 4).mean()
    bias = (2 - 0.94**2) / 625
    expected = (products + bias * pairs / frame.size * (detail**2).sum()) / np.sqrt(
        2 * pairs * near / 240 + 4 * detail.max() ** 4
    )
    assert structure_score(frame) == pytest.approx(expected, rel=1e-9)


def test_sigma_clipping_holds_a_speck_and_leaves_ordinary_counts() -> None:
    frame = np.random.default_rng(0).poisson(4, (64, 64)).astype(float)
    ordinary = frame <= 9
    frame[3, 3] = 1e5
    held = sigma_clipped(frame)
    assert held[3, 3] < 4 + 3.5 * 2
    ordinary[3, 3] = False
    np.testing.assert_array_equal(held[ordinary], frame[ordinary])
