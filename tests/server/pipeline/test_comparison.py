"""Predictions compared after they were made: moved ones, and both halves of a frame's photons."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from dimstream_client.quality import Thresholds
from dimstream_models.arithmetic import normalise_prediction
from dimstream_models.bundle import Bundle, SsimSettings
from dimstream_models.quality.alignment import overlap
from dimstream_models.quality.split_photon_check import halve_photons
from dimstream_models.quality.support_map import DISAGREE, PREDICTED, UNSUPPORTED
from dimstream_server.errors import FrameFailed
from dimstream_server.pipeline.comparison import Aligner, SplitCheck
from dimstream_server.pipeline.device_name import parse_device
from dimstream_server.pipeline.fused_model import FusedModel

BundleMaker = Callable[..., Bundle]
CPU = parse_device("cpu")


def _field(seed: int, shape: tuple[int, int] = (60, 75)) -> NDArray[Any]:
    return gaussian_filter(np.random.default_rng(seed).random(shape), 3)


def _counts(seed: int, light: float = 6.0, shape: tuple[int, int] = (60, 75)) -> NDArray[np.uint16]:
    field = _field(9, shape)
    field = light * ((field - field.min()) / np.ptp(field)) ** 3
    return np.random.default_rng(seed).poisson(field).astype(np.uint16)


@pytest.mark.parametrize("shift", [(0, 0), (4, 0), (-3, 11), (20, -30)])
def test_ssim_after_a_shift_is_scikit_images_on_the_overlap(
    tiny_bundle: BundleMaker, shift: tuple[int, int]
) -> None:
    bundle = tiny_bundle()
    before, after = (_field(seed).astype(np.float32) for seed in (1, 2))
    found = Aligner(bundle, CPU, threads=1).ssim(before, after, shift)
    old, new = (part.astype(np.float64) for part in overlap(before, after, shift))
    expected = structural_similarity(old, new, data_range=bundle.ssim.data_range, win_size=bundle.ssim.window)
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("normalisation", ["mean_absolute_deviation", "maximum"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_split_check_equals_the_numpy_path(
    tiny_bundle: BundleMaker, normalisation: Any, dtype: str
) -> None:
    settings = SsimSettings(normalisation=normalisation, data_range=8.0, window=7)
    bundle = tiny_bundle("identity", ssim=settings)
    frame = _counts(3).astype(dtype)
    output = FusedModel(bundle, device=CPU, in_dtype=dtype, out_dtype="uint16").run(
        frame, None, Thresholds(0.6)
    )
    found = SplitCheck(bundle, CPU, in_dtype=dtype, threads=1).compare(*halve_photons(frame, 5), output)
    halves = [
        normalise_prediction(half, normalisation).astype(np.float64) for half in halve_photons(frame, 5)
    ]
    ssim, map_ = structural_similarity(*halves, data_range=8.0, full=True)
    assert found.ssim == pytest.approx(ssim, abs=1e-4)
    inside = np.s_[3:-3, 3:-3]
    predicted = (output.support & PREDICTED) > 0
    unlike = predicted & (map_ < DISAGREE)
    expected = unlike | ((output.support & UNSUPPORTED) > 0)
    certain = np.abs(map_ - DISAGREE)[inside] > 1e-3
    np.testing.assert_array_equal(
        ((found.support & UNSUPPORTED) > 0)[inside][certain], expected[inside][certain]
    )
    assert unlike[inside].any()
    np.testing.assert_array_equal(
        found.support & ~np.uint8(UNSUPPORTED), output.support & ~np.uint8(UNSUPPORTED)
    )
    assert output.measures.unsupported_fraction < found.unsupported_fraction <= 1


def test_halves_of_structure_agree_and_those_of_noise_do_not(tiny_bundle: BundleMaker) -> None:
    bundle = tiny_bundle("blur")
    model = FusedModel(bundle, device=CPU, in_dtype="uint16", out_dtype="uint16")
    split_check = SplitCheck(bundle, CPU, in_dtype="uint16", threads=1)

    def similarity(frame: NDArray[np.uint16]) -> float:
        output = model.run(frame, None, Thresholds(0.6))
        return split_check.compare(*halve_photons(frame, 0), output).ssim

    noise = np.random.default_rng(0).poisson(6, (60, 75)).astype(np.uint16)
    assert similarity(_counts(1, light=400)) > 0.9
    assert similarity(noise) < 0.2


def test_a_network_that_raises_on_a_half_fails_the_frame(tiny_bundle: BundleMaker) -> None:
    bundle, frame = tiny_bundle("raising"), _counts(1)
    output = FusedModel(bundle, device=CPU, in_dtype="uint16", out_dtype="uint16").run(
        frame, None, Thresholds(0.6)
    )
    split_check = SplitCheck(bundle, CPU, in_dtype="uint16", threads=1)
    frame[0, :12] = 2500  # about 1250 in each half, above the mark
    with pytest.raises(FrameFailed, match="could not be compared"):
        split_check.compare(*halve_photons(frame, 0), output)
