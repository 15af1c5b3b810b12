"""Decorrelation analysis against its authors' program, and against its definition."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from tifffile import imread

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics import decorrelation as module
from dimstream_models.training.metrics.decorrelation import Decorrelation, decorrelation

Image = NDArray[Any]
LDM006 = "220421_COS7_Halo_Sec61b_TMR_fortubulewidth_live_LDM006Series001.tif"
IMDECORR = "ImDecorr (authors MATLAB code in Octave 7.3, Nr 50, Ng 10, 20 px apodisation)"
SIX_DIGITS = 2e-6  # the references are printed with six decimals; A0 comes in whole thousandths


def plane(path: str, frame: int | None = None) -> Callable[[Path], Image]:
    def read(shared: Path) -> Image:
        images = np.asarray(imread(shared / path))
        return images if frame is None else np.asarray(images[frame])

    return read


def bleach_corrected_mean(name: str) -> Callable[[Path], Image]:
    def read(shared: Path) -> Image:
        movie = imread(shared / "06_sted_live_movies" / name).astype(float)
        level = movie.mean(axis=(1, 2), keepdims=True)
        return np.asarray((movie / level * level.mean()).mean(axis=0))

    return read


IMAGES: dict[str, Callable[[Path], Image]] = {
    "01 ER movie frame 0 (160 nm)": plane("01_er_movie_cc0/example_ER_network_1Hz.tif", 0),
    "02 ER confocal LDM006": plane(f"02_er_confocal_live/{LDM006}"),
    "05 tubulin.tiff": plane("05_sted_images_mit/STEDActinAxonFCN__dataset__data__tubulin.tiff"),
    "05 actin_1.tiff": plane("05_sted_images_mit/STEDActinAxonFCN__dataset__data__actin_1.tiff"),
    "07 HE_15": plane("07_pairs_dlsim_mit/HE_15.tif"),
    "13 imdecorr_test_image (15.336 nm)": plane("13_reference_values/imdecorr_test_image.tif"),
    "13 pyres_img_gt_0": plane("13_reference_values/pyres_img_gt_0.tif"),
    "13 pyres_img_generated_1": plane("13_reference_values/pyres_img_generated_1.tif"),
    "14 pairs_high[0] (20 nm)": plane("14_sim_er_sted/pairs_high.tif", 0),
    "14 pairs_high[5] (20 nm)": plane("14_sim_er_sted/pairs_high.tif", 5),
    "06 area002_001: mean of all frames (bleach-corrected), 35 nm": bleach_corrected_mean("area002_001.tif"),
    "06 area002_002: mean of all frames (bleach-corrected), 35 nm": bleach_corrected_mean("area002_002.tif"),
}


def reference(shared: Path) -> dict[str, Any]:
    document = json.loads((shared / "13_reference_values/reference.json").read_text())
    return dict(document["decorrelation_resolution_in_pixels"])


def test_every_image_with_a_reference_value_is_listed(shared: Path) -> None:
    assert set(reference(shared)) == set(IMAGES)


@pytest.mark.parametrize("name", IMAGES)
def test_the_authors_program_finds_the_same(name: str, shared: Path) -> None:
    expected = reference(shared)[name][IMDECORR]
    found = decorrelation(IMAGES[name](shared))
    assert found.kc_max == pytest.approx(expected["kcMax"], rel=SIX_DIGITS)
    assert found.a0 == pytest.approx(expected["A0"], abs=1e-9)
    assert found.resolution_px == pytest.approx(expected["res_px"], rel=SIX_DIGITS)


@pytest.mark.parametrize("shape", [(60, 60), (61, 61), (60, 85), (85, 60)])
@pytest.mark.parametrize("width", [np.inf, 5.0, 0.3])
def test_a_curve_is_the_correlation_with_the_phases(shape: tuple[int, int], width: float) -> None:
    image = blurred_noise(shape, 1.5)
    radii = np.linspace(0.013, 0.987, 50)  # none falls on a frequency, where rounding decides
    spectrum = module._Spectrum.of(image)
    found = spectrum.curve(spectrum.bins(radii), width)
    odd = image[: shape[0] - 1 + shape[0] % 2, : shape[1] - 1 + shape[1] % 2]
    transform = np.fft.fftshift(np.fft.fft2(odd))
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in odd.shape), indexing="ij")
    radius = np.hypot(*axes)
    passed = 1.0 if np.isinf(width) else 1 - np.exp(-2 * width**2 * radius**2)
    filtered = np.where(radius < 1, transform * passed, 0)
    phases = transform / np.abs(transform)
    for index in range(0, 50, 7):
        inside = np.where(radius < radii[index], phases, 0)
        norms = np.linalg.norm(filtered) * np.linalg.norm(inside)
        expected = np.vdot(inside, filtered).real / norms
        assert expected - 0.001 - 1e-9 <= found[index] <= expected + 1e-9  # whole thousandths, downwards


def test_a_blunter_image_resolves_less() -> None:
    found = [decorrelation(blurred_noise((200, 200), sigma)).resolution_px for sigma in (1.0, 2.0, 4.0)]
    assert None not in found
    assert found == sorted(found)
    assert found[2] > 2 * found[0]


def test_neither_unit_nor_type_matter() -> None:
    image = np.random.default_rng(5).poisson(50 + 10 * blurred_noise((120, 140), 2.0))
    expected = decorrelation(image)
    assert expected.resolution_px is not None
    assert decorrelation(image.astype(np.uint16)) == expected
    assert decorrelation(image * 1e-9) == expected


def test_a_region_is_the_region() -> None:
    image = blurred_noise((240, 260), 1.5)
    image[:, 130:] = ndimage.gaussian_filter(image[:, 130:], 4)
    region = image[20:140, 5:125]
    assert decorrelation(region) == decorrelation(region.copy())
    assert decorrelation(region) != decorrelation(image)


@pytest.mark.parametrize("value", [0, 1, 0.1, 1e9])
def test_a_constant_image_has_no_resolution(value: float) -> None:
    assert decorrelation(np.full((100, 90), value)) == Decorrelation(None, None, None)


@pytest.mark.parametrize("mean", [0.003, 0.01, 1.0, 100.0])
def test_noise_alone_has_no_resolution(mean: float) -> None:
    assert decorrelation(np.random.default_rng(7).poisson(mean, (300, 300))).resolution_px is None


@pytest.mark.parametrize("shape", [(40, 200), (200,), (3, 100, 100)])
def test_refuses_what_is_too_small_or_no_plane(shape: tuple[int, ...]) -> None:
    with pytest.raises(CannotEvaluate, match="expected"):
        decorrelation(np.zeros(shape))


def test_refuses_pixels_that_are_no_numbers() -> None:
    image = blurred_noise((100, 100), 1.0)
    image[3, 4] = np.nan
    with pytest.raises(CannotEvaluate, match="finite"):
        decorrelation(image)


def blurred_noise(shape: tuple[int, int], sigma: float) -> NDArray[np.float64]:
    rng = np.random.default_rng(11)
    structure = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    return np.asarray(structure / structure.std() + 0.1 * rng.normal(size=shape))
