"""Fourier ring correlation against other programs, its definition, and images whose cut-off is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import windows
from tifffile import imread

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics.frc import (
    even_and_odd_means,
    first_crossing,
    fourier_ring_correlation,
    frc_resolution_px,
    taper,
)

Floats = NDArray[np.float64]
PIXEL_SIZE_NM = 35
# Three programs, three windows and ring sums: they differ from one another by 4 % and 1.5 %. NanoPyx samples
# circles in the same window as ours; TU Delft's sums rings in a narrower one, and both its values lie on
# whole rings, which are 3 % apart here.
TOLERANCES = {
    "nanopyx 0.2.2": 0.02,
    "nanopyx 2.1.5": 0.02,
    "frc 0.1.1 (TU Delft; Tukey 0.125, unsmoothed curve interpolated)": 0.06,
}


@pytest.mark.parametrize("program", TOLERANCES)
@pytest.mark.parametrize("movie", ["area002_001", "area002_002"])
def test_other_programs_find_the_same(program: str, movie: str, shared: Path) -> None:
    document = json.loads((shared / "13_reference_values/reference.json").read_text())
    pair = f"06 {movie}: mean of even / odd frames (bleach-corrected), 35 nm"
    expected = document["FRC_1_7_resolution_nm"][pair][program]
    means = even_and_odd_means(imread(shared / "06_sted_live_movies" / f"{movie}.tif"))
    resolution = frc_resolution_px(*means)
    assert resolution is not None
    assert resolution * PIXEL_SIZE_NM == pytest.approx(expected, rel=TOLERANCES[program])


@pytest.mark.parametrize("shape", [(48, 48), (47, 47), (40, 61), (61, 40), (40, 60)])
def test_the_curve_is_the_correlation_in_each_ring(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    first = rng.poisson(20.0, shape)
    second = first + rng.poisson(10.0, shape)
    curve = fourier_ring_correlation(first, second)
    window = np.outer(*(taper(side) for side in shape))
    a, b = (np.fft.fft2((image - image.mean()) * window) for image in (first, second))
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1]))
    width = 1 / min(shape)
    assert curve.correlation[0] == 1
    for middle, found in list(zip(curve.frequency_per_px, curve.correlation, strict=True))[1:]:
        ring = np.abs(frequency - middle) < width / 2
        expected = np.vdot(a[ring], b[ring]).real / np.linalg.norm(a[ring]) / np.linalg.norm(b[ring])
        assert found == pytest.approx(expected, abs=1e-9)
    assert curve.frequency_per_px[-1] < 0.5 <= curve.frequency_per_px[-1] + width


@pytest.mark.parametrize("cut_off", [0.1, 0.2, 0.35])
@pytest.mark.parametrize("shape", [(200, 200), (160, 240)])
def test_a_known_cut_off_is_found(cut_off: float, shape: tuple[int, int]) -> None:
    first, second = pair_with_cut_off(shape, cut_off)
    resolution = frc_resolution_px(first, second)
    assert resolution is not None
    assert 1 / resolution == pytest.approx(cut_off, abs=2 / min(shape))  # a ring, and the window's blur


def test_the_level_follows_the_signal_to_noise_ratio() -> None:
    rng = np.random.default_rng(3)
    structure = rng.normal(size=(256, 256))
    first, second = (structure + 2 * rng.normal(size=structure.shape) for _ in range(2))
    curve = fourier_ring_correlation(first, second)
    expected = 1 / (1 + 2**2)  # S / (S + N) at every frequency
    assert curve.correlation[10:].mean() == pytest.approx(expected, abs=0.02)  # 5 standard errors


def test_neither_unit_nor_offset_nor_order_matter() -> None:
    first, second = pair_with_cut_off((120, 120), 0.2)
    expected = frc_resolution_px(first, second)
    assert frc_resolution_px(second, first) == pytest.approx(expected, rel=1e-9)
    assert frc_resolution_px(3 * first + 100, second - 5) == pytest.approx(expected, rel=1e-9)


def test_equal_images_have_no_resolution() -> None:
    image, _ = pair_with_cut_off((64, 64), 0.2)
    assert frc_resolution_px(image, image) is None


def test_constant_images_have_no_resolution() -> None:
    image, _ = pair_with_cut_off((64, 64), 0.2)
    assert frc_resolution_px(np.full((64, 64), 0.1), image) is None
    assert frc_resolution_px(np.zeros((64, 64)), np.zeros((64, 64))) is None


def test_opposite_images_have_no_resolution() -> None:
    image, _ = pair_with_cut_off((64, 64), 0.2)
    assert frc_resolution_px(image, -image) is None


def test_the_first_crossing_is_interpolated() -> None:
    curves = np.array([[1, 0.9, 0.5, 0.1, 0.6, 0.0], [1, 0.9, 0.8, 0.9, 0.8, 0.9], [0.1, 0, 0, 0, 0, 0]])
    found = first_crossing(curves, 0.2)
    assert found[0] == pytest.approx(2.75)
    assert np.isnan(found[1:]).all()


def test_the_window_is_tukeys() -> None:
    # scipy's edge ends on the last whole pixel before an eighth, ours after it: one pixel, by 0.1 %
    assert taper(64) == pytest.approx(windows.tukey(64, 0.25), abs=1e-3)
    assert taper(65) == pytest.approx(windows.tukey(65, 0.25), abs=1e-12)


def test_means_of_a_bleaching_movie_agree_in_brightness() -> None:
    structure = np.random.default_rng(4).uniform(1, 2, (30, 30))
    fading = np.geomspace(8, 1, 7)
    even, odd = even_and_odd_means(structure * fading[:, None, None])
    assert even == pytest.approx(odd, rel=1e-12)
    assert even == pytest.approx(structure * fading.mean(), rel=1e-12)


REFUSED = {
    "other shapes": (np.ones((32, 32)), np.ones((32, 33)), "one shape"),
    "too small": (np.ones((15, 32)), np.ones((15, 32)), "at least 16 px"),
    "a movie": (np.ones((3, 32, 32)), np.ones((3, 32, 32)), r"one image \(H, W\)"),
    "nan": (np.full((32, 32), np.nan), np.ones((32, 32)), "finite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    first, second, message = REFUSED[name]
    with pytest.raises(CannotEvaluate, match=message):
        frc_resolution_px(first, second)


@pytest.mark.parametrize("shape", [(32, 32), (1, 32, 32)])
def test_refuses_what_is_no_movie(shape: tuple[int, ...]) -> None:
    with pytest.raises(CannotEvaluate, match="movie"):
        even_and_odd_means(np.ones(shape))


def test_refuses_a_movie_with_an_empty_frame() -> None:
    movie = np.ones((4, 32, 32))
    movie[2] = 0
    with pytest.raises(CannotEvaluate, match="light"):
        even_and_odd_means(movie)


def pair_with_cut_off(shape: tuple[int, int], cut_off: float) -> tuple[Floats, Floats]:
    """Return structure that is as strong as the noise up to a frequency, twice, each with its own noise."""
    rng = np.random.default_rng(2)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    spectrum = np.fft.rfft2(rng.normal(size=shape)) * (frequency < cut_off)
    structure = np.fft.irfft2(spectrum, shape)
    first, second = (structure + rng.normal(size=shape) for _ in range(2))
    return first, second
