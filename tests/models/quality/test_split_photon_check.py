"""Photons split by fair coins, and what is refused because it holds none."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from dimstream_models.quality.split_photon_check import halve_photons, no_photons


@pytest.mark.parametrize("rate", [0.1, 3, 40, 500])
def test_halves_of_photons_are_independent_poisson_counts(rate: float) -> None:
    counts = np.random.default_rng(1).poisson(rate, (400, 400)).astype(np.uint16)
    first, second = halve_photons(counts, seed=4)
    np.testing.assert_array_equal(first + second, counts)
    for half in (first, second):
        assert half.dtype == counts.dtype
        assert half.mean() == pytest.approx(rate / 2, rel=0.02)
        assert half.var() == pytest.approx(rate / 2, rel=0.03)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01


@pytest.mark.parametrize("count", [1, 2, 5, 63, 64, 1000])
def test_each_photon_has_a_coin_of_its_own(count: int) -> None:
    first, _ = halve_photons(np.full((300, 300), count, np.float32), seed=2)
    assert first.dtype == np.float32
    assert first.mean() == pytest.approx(count / 2, rel=0.01)
    assert first.var() == pytest.approx(count / 4, rel=0.03)


def test_the_same_seed_splits_alike_and_another_does_not() -> None:
    counts = np.random.default_rng(1).poisson(2, (50, 50)).astype(np.uint16)
    again, other = halve_photons(counts, 7)[0], halve_photons(counts, 8)[0]
    np.testing.assert_array_equal(halve_photons(counts, 7)[0], again)
    assert (again != other).any()


def _poisson(rate: float) -> np.ndarray:
    return np.random.default_rng(3).poisson(rate, (200, 200)).astype(float)


def _shaded() -> np.ndarray:
    light = np.repeat(np.linspace(0.2, 12, 200)[None], 200, axis=0)
    return np.random.default_rng(5).poisson(light).astype(float)


REFUSED = {
    "fractions": (_poisson(2) / 3, "between whole numbers"),
    "negative": (_poisson(2) - 1, "down to -1"),
    "offset": (_poisson(2) + 100, "variance/mean 0.0"),
    "gain": (_poisson(20) * 5, "steps of 5"),
    "shaded, gain and offset": (5 * _shaded() + 100, "steps of 5"),
    "binned mean": (np.rint((_poisson(30) + np.roll(_poisson(30), 1, 0)) / 2), "variance/mean 0"),
    "too small": (_poisson(2)[:2], "at least 3 px"),
}


def _sharp_and_bright() -> np.ndarray:
    """Lines of 60 photons, 3 px wide, on a dark ground."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(200, 200)), 8)
    return np.random.default_rng(1).poisson(60 * np.exp(-((smooth / 0.004) ** 2)) + 0.3).astype(float)


TAKEN = {
    "sharp and bright": _sharp_and_bright(),
    "faint": _poisson(0.01),
    "usual": _poisson(1.5),
    "bright": _poisson(300),
    "dark": _poisson(0),
}


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED)
def test_values_that_are_no_photon_counts_are_refused_with_the_reason(
    values: np.ndarray, message: str
) -> None:
    reason = no_photons(values)
    assert reason is not None
    assert message in reason


@pytest.mark.parametrize("values", TAKEN.values(), ids=TAKEN)
def test_photon_counts_of_any_brightness_are_taken(values: np.ndarray) -> None:
    assert no_photons(values) is None


def test_real_sted_counts_are_photons_and_camera_frames_are_not(shared: Path) -> None:
    for name in ("area002_001", "area002_003", "syt_control_002"):
        for frame in tifffile.imread(shared / f"06_sted_live_movies/{name}.tif")[:5]:
            assert no_photons(frame) is None
    for name in ("camera_bg0", "camera_bg2"):
        assert no_photons(tifffile.imread(shared / f"11_dark_noise/{name}.tif")) is not None
