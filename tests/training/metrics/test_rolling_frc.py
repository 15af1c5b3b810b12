"""Rolling Fourier ring correlation against its authors' published map, and against known local resolution."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from tifffile import imread

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics import frc as module
from dimstream_models.training.metrics.frc import RollingFrc, first_crossing, rolling_frc, taper

Floats = NDArray[np.float64]
EVERYWHERE = -1000.0  # a background that nothing is below
SINGLE_PRECISION = 1e-4  # the plugin transforms in single precision too, in another order


@pytest.fixture(scope="module")
def nup96(shared: Path) -> RollingFrc:
    first, second = imread(shared / "13_reference_values/nup96_pair.tif")
    return rolling_frc(first, second, block=64, skip=1, background=60)


def test_the_published_map_is_reproduced_pixel_by_pixel(nup96: RollingFrc, shared: Path) -> None:
    published = imread(shared / "13_reference_values/nup96_rfrc_map_published.tif")
    mapped = np.isfinite(nup96.resolution_px)
    assert np.array_equal(mapped, published > 0)
    assert mapped.sum() == 5375
    deviation = np.abs(nup96.resolution_px[mapped] / published[mapped] - 1)
    assert deviation.max() < SINGLE_PRECISION


def test_the_published_figures_are_reproduced(nup96: RollingFrc, shared: Path) -> None:
    document = json.loads((shared / "13_reference_values/reference.json").read_text())
    key = next(name for name in document["published"] if "nup96_pair.tif" in name and "1/7" in name)
    published = document["published"][key]  # in nm, with 1 nm pixels; three decimals
    assert nup96.mean_px == pytest.approx(published["mean_nm"], abs=5e-4)
    assert nup96.minimum_px == pytest.approx(published["min_nm"], abs=5e-4)
    assert nup96.maximum_px == pytest.approx(published["max_nm"], abs=5e-4)
    assert nup96.value == pytest.approx(published["rFRC"], abs=5e-4)


def test_a_block_is_correlated_along_half_circles() -> None:
    rng = np.random.default_rng(0)
    first = rng.poisson(20.0, (64, 64)).astype(np.float32)
    second = (ndimage.gaussian_filter(first, 1) + rng.poisson(5.0, (64, 64))).astype(np.float32)
    found = module._resolutions([first, second], np.zeros((1, 2), np.intp), 64, 1 / 7)
    window = np.outer(taper(64), taper(64))
    a, b = (np.fft.fftshift(np.fft.fft2(image * window)) for image in (first, second))
    planes = ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
    curve = [1.0]
    for radius in range(1, 31):
        sums = np.zeros(3)
        for step in range(int(np.pi * radius) + 1):
            x, y = 32 + radius * np.cos(step / radius), 32 + radius * np.sin(step / radius)
            sums += [sample(plane, x, y) for plane in planes]
        curve.append(sums[0] / np.sqrt(sums[1] * sums[2]))
    assert np.isfinite(found[0])
    assert found[0] == pytest.approx(64 / first_crossing(np.array(curve), 1 / 7), rel=SINGLE_PRECISION)


def sample(plane: Floats, x: float, y: float) -> float:
    """Return the value between four pixels, the two of larger y swapped as in the plugin."""
    left, low = int(x), int(y)
    right, up = x - left, y - low
    lower = (1 - right) * plane[low, left] + right * plane[low, left + 1]
    upper = (1 - right) * plane[low + 1, left + 1] + right * plane[low + 1, left]
    return float((1 - up) * lower + up * upper)


def test_each_half_has_its_own_resolution() -> None:
    rng = np.random.default_rng(1)
    sharp, blunt = (band_limited(rng, (128, 256), cut_off) for cut_off in (0.3, 0.15))
    structure = np.where(np.arange(256) < 128, sharp, blunt)
    first, second = (structure + 0.7 * rng.normal(size=structure.shape) for _ in range(2))
    found = rolling_frc(first, second, skip=8, background=EVERYWHERE).resolution_px
    assert found.shape == (128, 256)
    for part, cut_off in ((found[:, :64], 0.3), (found[:, 192:], 0.15)):
        assert 1 / np.median(part) == pytest.approx(
            cut_off, abs=2 / 64
        )  # a ring, its neighbour between which it samples


@pytest.mark.slow
def test_squares_hold_what_single_pixels_would() -> None:
    first, second = noisy_pair((70, 90))
    every = rolling_frc(first, second, skip=1, background=EVERYWHERE).resolution_px
    fourth = rolling_frc(first, second, skip=4, background=EVERYWHERE).resolution_px
    same = np.isclose(fourth[::4, ::4], every[::4, ::4], rtol=1e-3, equal_nan=True)
    assert same.mean() > 0.95  # the others are outliers, which are told by their neighbours


def test_only_what_is_brighter_than_the_background_is_mapped() -> None:
    first, second = noisy_pair((80, 100))
    shade = np.where(np.arange(100) < 50, 1.0, 0.1)
    mapped = np.isfinite(rolling_frc(first * shade, second * shade, skip=4, background=60).resolution_px)
    assert mapped[:, :16].mean() > 0.9  # blocks that do not see the edge, on which both images agree
    assert not mapped[:, 54:].any()  # the last square reaches a pixel to the right


def test_each_image_has_its_own_scale() -> None:
    first, second = noisy_pair((80, 80))
    found, scaled = rolling_frc(first, second), rolling_frc(first * 8, second / 4)
    assert np.array_equal(found.resolution_px, scaled.resolution_px, equal_nan=True)


def test_statistics_are_those_of_the_mapped_pixels() -> None:
    found = RollingFrc(np.array([[np.nan, 2.0, 4.0], [6.0, np.nan, np.nan]], np.float32))
    assert (found.mean_px, found.minimum_px, found.maximum_px, found.value) == (4, 2, 6, 1)


DARK = np.zeros((64, 64))
BRIGHT = np.random.default_rng(5).poisson(9.0, (64, 64)) + 9.0
WITHOUT_RESOLUTION = {"empty": (DARK, DARK), "one empty": (DARK, BRIGHT), "equal": (BRIGHT, BRIGHT)}


@pytest.mark.parametrize("name", WITHOUT_RESOLUTION)
def test_no_number_is_made_up(name: str) -> None:
    found = rolling_frc(*WITHOUT_RESOLUTION[name])
    assert np.isnan(found.resolution_px).all()
    assert (found.mean_px, found.minimum_px, found.maximum_px, found.value) == (None, None, None, None)


@pytest.mark.parametrize("seed", range(5))
def test_outliers_are_replaced_as_in_one_pass_over_all_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = np.where(rng.random((40, 50)) < 0.6, rng.lognormal(0, 1, (40, 50)), 0).astype(np.float32)
    expected = image.copy()
    for y in range(1, 39):
        for x in range(1, 49):
            median = np.median(expected[y - 1 : y + 2, x - 1 : x + 2])
            if expected[y, x] > 2 * median:
                expected[y, x] = median
    module._replace_outliers(image)
    assert np.array_equal(image, expected)


REFUSED: dict[str, tuple[Floats, Floats, dict[str, int], str]] = {
    "other shapes": (DARK, DARK[:, 1:], {}, "one shape"),
    "a movie": (DARK[None], DARK[None], {}, r"one image \(H, W\)"),
    "a side of half a block": (DARK[:32], DARK[:32], {}, "at least 33 px"),
    "nan": (DARK, DARK * np.nan, {}, "finite"),
    "an odd block": (DARK, DARK, {"block": 63}, "even block"),
    "a tiny block": (DARK, DARK, {"block": 8}, "at least 16"),
    "no skip": (DARK, DARK, {"skip": 0}, "skip from 1"),
    "a skip over half a block": (DARK, DARK, {"skip": 33}, "skip from 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    first, second, options, message = REFUSED[name]
    with pytest.raises(CannotEvaluate, match=message):
        rolling_frc(first, second, **options)


def band_limited(rng: np.random.Generator, shape: tuple[int, int], cut_off: float) -> Floats:
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    return np.asarray(np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) * (frequency < cut_off), shape))


def noisy_pair(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(4)
    structure = 20 + band_limited(rng, shape, 0.2)
    first, second = (structure + 0.5 * rng.normal(size=shape) for _ in range(2))
    return first, second
