"""The floor against a simulation in which the light behind the truth is known."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dimstream_models.training.evaluation.scoring import light_behind, with_photon_noise
from dimstream_models.training.metrics.pixelwise import mae, pearson, psnr, ssim
from dimstream_models.training.simulation.er_scenes import Scene

Floats = NDArray[np.float64]


def _figures(restored: Floats, truth: Floats) -> Floats:
    span = float(np.ptp(truth))
    found = (
        psnr(restored, truth, data_range=span),
        ssim(restored, truth, data_range=span),
        mae(restored, truth) / float(truth.mean()),
        pearson(restored, truth),
    )
    return np.asarray(found, np.float64)


def _floor(truth: Floats, rng: np.random.Generator) -> Floats:
    light = light_behind(truth)
    span = float(np.ptp(truth))
    drawn = with_photon_noise(light, rng)
    found = (
        psnr(light, drawn, data_range=span),
        ssim(light, drawn, data_range=span),
        mae(light, drawn) / float(truth.mean()),
        pearson(light, drawn),
    )
    return np.asarray(found, np.float64)


# Photons on the brightest structure, and what docs/evaluate.md promises there: dB, SSIM, share of the mean,
# correlation. PSNR's tolerance is photon statistics; the others' grow as the noise hides the structure.
TOLERANCES = {
    "high dose (70 on a tubule)": (70.0, (0.25, 0.03, 0.01, 0.003)),
    "a tenth of it": (7.0, (0.25, 0.03, 0.02, 0.025)),
    "a photon on a tubule": (1.0, (0.25, 0.045, 0.06, 0.07)),
}


@pytest.mark.parametrize("case", TOLERANCES)
def test_the_floor_is_what_the_light_itself_scores(case: str) -> None:
    dose, tolerances = TOLERANCES[case]
    rng = np.random.default_rng(1)
    for scene in range(3):
        structure = Scene.random(np.random.default_rng(scene), (256, 256)).structure()
        light = dose * structure.astype(np.float64) + 0.05
        truth = rng.poisson(light).astype(np.float64)
        difference = np.abs(_floor(truth, rng) - _figures(light, truth))
        assert (difference <= tolerances).all(), difference


def test_the_floor_holds_on_another_simulators_pairs(shared: Path) -> None:
    rng = np.random.default_rng(2)
    lights = tifffile.imread(shared / "14_sim_er_sted" / "pairs_truth_x100.tif")[::8] / 100 + 0.3
    for light in lights:
        truth = rng.poisson(light).astype(np.float64)
        difference = np.abs(_floor(truth, rng) - _figures(light, truth))
        assert (difference <= (0.25, 0.02, 0.01, 0.003)).all(), difference


def test_a_blurred_restoration_stays_below_the_floor() -> None:
    rng = np.random.default_rng(3)
    light = 30.0 * Scene.random(rng, (256, 256)).structure().astype(np.float64) + 0.1
    truth = rng.poisson(light).astype(np.float64)
    blurred = _figures(gaussian_filter(light, 2.0), truth)
    floor = _floor(truth, rng)
    assert floor[0] > blurred[0] + 1
    assert floor[1] > blurred[1] + 0.02


def test_the_light_keeps_the_mean_and_is_never_negative() -> None:
    rng = np.random.default_rng(4)
    counts = rng.poisson(0.3, (64, 80))
    light = light_behind(counts)
    assert light.mean() == pytest.approx(counts.mean())
    assert light.min() >= 0
    assert np.array_equal(light_behind(np.zeros((64, 64))), np.zeros((64, 64)))


def test_flat_light_is_found_flat() -> None:
    """Nothing but noise: the widest smoothing has the smallest risk."""
    counts = np.random.default_rng(5).poisson(5.0, (128, 128))
    assert light_behind(counts).std() < 0.2  # of sqrt(5): 8 px of smoothing leave 0.08
