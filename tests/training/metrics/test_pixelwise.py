"""Pixelwise figures: scikit-image's published values, and what they say where nothing can be said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from skimage.io import imread

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics.pixelwise import mae, pearson, psnr, ssim

Image = NDArray[Any]
REFERENCE = "13_reference_values"


def eight_bit(low: str, high: str) -> Callable[[Path], tuple[Image, Image, float]]:
    return lambda shared: (imread(shared / low), imread(shared / high), 255.0)


def scaled_pair(shared: Path) -> tuple[Image, Image, float]:
    def scaled(name: str) -> Image:
        image = imread(shared / "07_pairs_dlsim_mit" / name).astype(np.float32)
        low, high = np.percentile(image, (1, 99.9))
        return np.asarray((image - low) / (high - low))

    return scaled("LE_15.tif"), scaled("HE_15.tif"), 1.0


PAIRS = {
    "07 LE_15 vs HE_15 (both scaled to 0..1 by percentiles 1, 99.9)": scaled_pair,
    **{
        f"{folder[:2]} low/{name} vs high/{name}": eight_bit(
            f"{folder}/low/{name}.tif", f"{folder}/high/{name}.tif"
        )
        for folder, names in {
            "08_pairs_w2s": ("005_0", "010_0", "022_1"),
            "09_pairs_fmd_confocal": ("BPAE_G", "BPAE_R"),
        }.items()
        for name in names
    },
    **{
        f"13 w2s_010_0_{name} vs target": eight_bit(
            f"{REFERENCE}/w2s_010_0_{name}.png", f"{REFERENCE}/w2s_010_0_target.png"
        )
        for name in ("noisy", "n2v", "n2n")
    },
}


def test_every_pair_with_reference_values_is_listed(shared: Path) -> None:
    listed = json.loads((shared / REFERENCE / "reference.json").read_text())[
        "skimage_0.26_defaults (target first)"
    ]
    assert set(listed) == set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_figures_are_scikit_images_own(name: str, shared: Path) -> None:
    reference = json.loads((shared / REFERENCE / "reference.json").read_text())
    expected = reference["skimage_0.26_defaults (target first)"][name]
    prediction, truth, data_range = PAIRS[name](shared)
    close = {"rel": 2e-6}  # the references of floating-point pairs were taken in single precision
    assert mae(prediction, truth) == pytest.approx(expected["MAE"], **close)
    assert psnr(prediction, truth, data_range=data_range) == pytest.approx(expected["PSNR"], **close)
    assert ssim(prediction, truth, data_range=data_range) == pytest.approx(expected["SSIM"], **close)
    assert pearson(prediction, truth) == pytest.approx(expected["Pearson"], **close)


def test_figures_are_those_that_scikit_image_publishes(shared: Path) -> None:
    camera = imread(shared / REFERENCE / "skimage_camera.png")
    published = json.loads((shared / REFERENCE / "reference.json").read_text())["published"]
    published = published["scikit-image tests (repository main, tests/skimage/metrics)"]
    noise = 20 * np.random.RandomState(5).randn(*camera.shape)
    noisy = np.clip(camera + noise, 0, 255).astype(np.uint8)
    found = psnr(noisy, camera, data_range=255)
    assert found == pytest.approx(published["PSNR"], abs=0.5 * 10 ** -published["PSNR_decimals"])
    similarity = ssim(noisy, camera, data_range=255)
    expected = published["SSIM default win 7, data_range 255"]
    assert similarity == pytest.approx(expected, abs=0.5 * 10 ** -published["SSIM_default_decimals"])


@pytest.mark.parametrize("shape", [(20, 31), (9, 12, 15)])
def test_planes_and_volumes_by_the_definitions(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    truth = rng.poisson(5.0, shape).astype(np.uint16)
    prediction = (truth + rng.normal(0, 1, shape)).astype(np.float32)
    difference = prediction.astype(float) - truth
    assert mae(prediction, truth) == pytest.approx(np.mean(np.abs(difference)), rel=1e-12)
    expected = 10 * np.log10(30.0**2 / np.mean(difference**2))
    assert psnr(prediction, truth, data_range=30) == pytest.approx(expected, rel=1e-12)
    correlation = stats.pearsonr(prediction.ravel().astype(float), truth.ravel().astype(float)).statistic
    assert pearson(prediction, truth) == pytest.approx(correlation, rel=1e-12)
    assert 0 < ssim(prediction, truth, data_range=30) < 1


def test_unsigned_counts_do_not_wrap_around() -> None:
    assert mae(np.zeros((8, 8), np.uint8), np.full((8, 8), 200, np.uint16)) == 200


def test_equal_images_have_no_noise_ratio() -> None:
    image = np.random.default_rng(1).poisson(3.0, (16, 16))
    assert psnr(image, image, data_range=10) is None
    assert ssim(image, image, data_range=10) == pytest.approx(1, abs=1e-12)
    assert mae(image, image) == 0
    assert pearson(image, image) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 3e7])
def test_a_constant_correlates_with_nothing(value: float) -> None:
    image = np.random.default_rng(2).normal(size=(16, 16))
    assert pearson(np.full((16, 16), value), image) is None
    assert pearson(image, np.full((16, 16), value)) is None


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_correlation_does_not_hang_on_the_unit(factor: float) -> None:
    rng = np.random.default_rng(3)
    image = rng.normal(size=(16, 16))
    other = image + rng.normal(size=(16, 16))
    assert pearson(image * factor, other) == pytest.approx(pearson(image, other), rel=1e-9)


GOOD = np.zeros((8, 8))
NOT_A_NUMBER = np.where(np.eye(8) > 0, np.nan, 0.0)
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "other shapes": (lambda: mae(GOOD, np.zeros((8, 9))), "one shape"),
    "a row": (lambda: mae(np.zeros(8), np.zeros(8)), r"an image \(H, W\)"),
    "no pixels": (lambda: mae(np.zeros((0, 8)), np.zeros((0, 8))), "at least 1 px"),
    "nan": (lambda: pearson(NOT_A_NUMBER, GOOD), "finite"),
    "infinity": (lambda: mae(GOOD, np.full((8, 8), np.inf)), "finite"),
    "no range": (lambda: psnr(GOOD, GOOD + 1, data_range=0), "data range above 0"),
    "range nan": (lambda: ssim(GOOD, GOOD, data_range=float("nan")), "data range above 0"),
    "a side below the window": (lambda: ssim(GOOD[:6], GOOD[:6], data_range=1), "at least 7 px"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(CannotEvaluate, match=message):
        call()
