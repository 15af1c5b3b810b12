"""What is no photon counts is found, what counting detectors give is not, on scenes whose light is known."""

import functools
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from dimstream_models.quality.count_check import Doubt, doubt_counts
from dimstream_models.quality.detector import Detector
from dimstream_models.quality.outliers import has_outlier
from dimstream_models.quality.photon_transfer import of_blocks

SIDE = 300
RNG = np.random.default_rng(11)
Frame = NDArray[Any]


@functools.cache
def _light(photons: float, background: float = 0.02, seed: int = 0) -> NDArray[np.float64]:
    """(H, W): a network of tubules about 4 px wide, blurred as a microscope does, with `photons` on them."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), 8)
    lines = ndimage.gaussian_filter((abs(smooth) < 0.15 * smooth.std()).astype(float), 1.3)
    light = np.asarray(photons * lines / lines.max() + background)
    light.setflags(write=False)
    return light


def _counts(light: NDArray[np.float64], seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 5)).poisson(light)


def _scaled(counts: NDArray[np.int64], gain: float = 2.2, read_noise: float = 0.0) -> Frame:
    noise = np.random.default_rng(3).normal(0, read_noise, counts.shape) if read_noise else 0.0
    return np.rint(100 + gain * (counts + noise)).astype(np.uint16)


def _mean_of_four(light: NDArray[np.float64]) -> Frame:
    return np.asarray(np.mean([_counts(light, seed) for seed in range(4)], axis=0), np.float32)


NO_PHOTONS: dict[str, Callable[[NDArray[np.float64]], Frame]] = {
    "one count left in": lambda light: (_counts(light) + 1).astype(np.uint16),
    "five counts left in": lambda light: (_counts(light) + 5).astype(np.uint16),
    "a thousand counts left in": lambda light: (_counts(light) + 1000).astype(np.uint16),
    "a camera": lambda light: _scaled(_counts(light)),
    "a camera with read noise": lambda light: _scaled(_counts(light), read_noise=1.6),
    "a camera of half a unit per photon": lambda light: _scaled(_counts(light), 0.5, 1.0),
    "times five": lambda light: (5 * _counts(light)).astype(np.uint16),
    "mean of four": _mean_of_four,
    "0 to 1": lambda light: (_counts(light) / _counts(light).max()).astype(np.float32),
    "8 bit for display": lambda light: np.rint(_counts(light) * (255 / _counts(light).max())).astype(
        np.uint8
    ),
    "smoothed": lambda light: ndimage.gaussian_filter(_counts(light).astype(np.float32), 1),
    "smoothed and rounded": lambda light: np.rint(
        ndimage.gaussian_filter(_counts(light).astype(float), 1)
    ).astype(np.uint16),
    "background subtracted": lambda light: (_counts(light) - 0.5).astype(np.float32),
}


LIGHTS = list(product((0.3, 1, 3, 10), (0.02, 1.0)))
# Rounding leaves nothing but zeros and ones of so little light.
TOO_DIM = {("smoothed and rounded", 0.3, 0.02)}


@pytest.mark.parametrize(
    ("kind", "photons", "background"),
    [(kind, *light) for kind in NO_PHOTONS for light in LIGHTS if (kind, *light) not in TOO_DIM],
)
def test_what_is_no_photon_counts_is_certain_in_one_frame(
    kind: str, photons: float, background: float
) -> None:
    doubt = doubt_counts(NO_PHOTONS[kind](_light(photons, background)))
    assert doubt is not None
    assert doubt.certain


def _dead_time(counts: NDArray[np.int64]) -> Frame:
    """What a detector leaves that misses a fifth of 100 counts, about as the real one of data set 15 does."""
    return np.random.default_rng(4).binomial(counts, 1 / (1 + 0.0025 * counts)).astype(np.uint16)


def _after_pulses(counts: NDArray[np.int64]) -> Frame:
    return (counts + np.random.default_rng(4).binomial(counts, 0.05)).astype(np.uint16)


PHOTONS: dict[str, Callable[[NDArray[np.int64]], Frame]] = {
    "16 bit": lambda counts: counts.astype(np.uint16),
    "8 bit": lambda counts: counts.astype(np.uint8),
    "float": lambda counts: counts.astype(np.float32),
    "dead time": _dead_time,
    "after-pulses": _after_pulses,
    "clipped": lambda counts: np.minimum(counts, max(int(np.quantile(counts, 0.97)), 2)).astype(np.uint16),
    "a hot pixel": lambda counts: np.where(np.arange(SIDE) * np.arange(SIDE)[:, None] == 99, 60000, counts),
}


@pytest.mark.parametrize("background", [0.0, 0.02, 1.0, 10.0])
@pytest.mark.parametrize("photons", [0.0, 0.1, 1, 10, 60])
@pytest.mark.parametrize("kind", PHOTONS)
def test_photon_counts_of_any_kind_are_not_doubted(kind: str, photons: float, background: float) -> None:
    for seed in range(2):
        frame = PHOTONS[kind](_counts(_light(photons, background, seed), seed))
        assert doubt_counts(frame) is None


@pytest.mark.parametrize("dark", [0.0, 0.003, 0.05])
def test_hot_pixels_in_an_empty_field_are_not_doubted(dark: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng((seed, 9))
        hot = np.where(rng.random((SIDE, SIDE)) < 0.002, rng.uniform(0.5, 6, (SIDE, SIDE)), dark)
        assert doubt_counts(rng.poisson(hot).astype(np.uint16)) is None


@pytest.mark.parametrize("shape", [(8, 8), (9, 200), (200, 9), (3, 3), (1, 1), (24, 27), (1, 500)])
def test_small_frames_of_photons_are_not_doubted(shape: tuple[int, int]) -> None:
    for rate in (0, 0.01, 0.3, 3, 40):
        for seed in range(20):
            frame = np.random.default_rng(seed).poisson(rate, shape).astype(np.uint16)
            assert doubt_counts(frame) is None


def _proposed(frame: Frame, before: Detector | None = None) -> Detector | None:
    doubt = doubt_counts(frame, converted=before is not None)
    assert doubt is not None
    return doubt.proposing(frame, before).detector


@pytest.mark.parametrize("photons", [1, 3, 10])
@pytest.mark.parametrize(("gain", "offset"), [(2.2, 100), (5, 0), (0.25, 0), (1, 1), (1, 1000), (40, 500)])
def test_offset_and_gain_of_scaled_counts_are_proposed(photons: float, gain: float, offset: float) -> None:
    values = (offset + gain * _counts(_light(photons))).astype(np.float32)
    found = _proposed(np.rint(values) if gain == 2.2 else values)
    assert found is not None
    assert found.gain == pytest.approx(gain, rel=0.1)
    assert found.offset == pytest.approx(offset, abs=0.5 * max(gain, 0.1))


@pytest.mark.parametrize("photons", [3, 10])
@pytest.mark.parametrize("gain", [0.5, 2.2])
def test_read_noise_does_not_shift_the_offset(photons: float, gain: float) -> None:
    found = [_proposed(_scaled(_counts(_light(photons, seed=n), n), gain, 1.6)) for n in range(6)]
    assert photons < 10 or None not in found
    for one in found:
        if one is not None:
            assert one.gain == pytest.approx(gain, rel=0.2)
            assert one.offset == pytest.approx(100, abs=gain)


def test_nothing_is_proposed_where_nothing_makes_photons() -> None:
    for kind in ("smoothed", "smoothed and rounded"):
        for photons in (1, 3, 10):
            assert _proposed(NO_PHOTONS[kind](_light(photons))) is None


def test_a_proposal_is_in_the_units_of_the_detector() -> None:
    wrong = Detector(90, 1)
    frame = wrong.photons(100 + 5 * _counts(_light(3)))
    assert _proposed(frame, wrong) == Detector(100, 5)


@pytest.mark.parametrize("read_noise", [0.0, 1.6])
@pytest.mark.parametrize("photons", [0.3, 1, 3, 10])
def test_what_the_right_offset_and_gain_made_is_not_doubted(photons: float, read_noise: float) -> None:
    values = _scaled(_counts(_light(photons)), 2.2, read_noise)
    assert doubt_counts(Detector(100, 2.2).photons(values), converted=True) is None


@pytest.mark.parametrize("wrong", [Detector(0, 2.2), Detector(95, 2.2), Detector(100, 10)])
def test_a_wrong_offset_or_gain_is_noticed(wrong: Detector) -> None:
    values = _scaled(_counts(_light(3)))
    doubt = doubt_counts(wrong.photons(values), converted=True)
    assert doubt is not None
    assert doubt.certain


def test_the_words_say_what_was_seen_and_what_to_give() -> None:
    text = str(Doubt("values come in steps of 5", detector=Detector(100, 5)))
    assert text == "no photon counts: values come in steps of 5; they look like offset 100, gain 5"
    assert str(Doubt("variance/mean 1.4 +-0.02", certain=False)).startswith("perhaps no photon counts: ")


COUNTED = {
    "01_er_movie_cc0/example_ER_network_1Hz.tif": False,  # a camera's, less its offset
    "06_sted_live_movies/area002_001.tif": True,
    "06_sted_live_movies/area002_002.tif": True,
    "06_sted_live_movies/area002_003.tif": True,
    "06_sted_live_movies/syt_control_002.tif": True,
    "06_sted_live_movies/syt_triggered_001.tif": True,
    "07_pairs_dlsim_mit/LE_00.tif": False,
    "09_pairs_fmd_confocal/low/BPAE_B.tif": False,
    "09_pairs_fmd_confocal/low/BPAE_G.tif": False,
    "11_dark_noise/apd_late_gate.tif": True,
    "11_dark_noise/camera_bg0.tif": False,
    "11_dark_noise/camera_bg2.tif": False,
    "14_sim_er_sted/movie_low.tif": True,
    "14_sim_er_sted/movie_dark.tif": True,
    "14_sim_er_sted/pairs_high.tif": True,
    "15_sted_live_confocal_pairs/live_factin_conf_sted_train.tif": True,
}


@pytest.mark.parametrize(("name", "counted"), COUNTED.items())
def test_recorded_frames_are_told_apart_all_of_them(shared: Path, name: str, counted: bool) -> None:
    images = tifffile.imread(shared / name)
    for frame in images.reshape(-1, *images.shape[-2:]):
        doubt = doubt_counts(frame)
        assert (doubt is None) == counted, doubt


def test_one_wild_pixel_is_found_and_structure_is_not() -> None:
    for photons in (0, 1, 10, 60):
        frame = _counts(_light(photons)).astype(np.uint16)
        assert not has_outlier(frame)
        for row, column in ((0, 0), (40, 50), (SIDE - 1, 7)):
            wild = frame.copy()
            wild[row, column] = 60000
            assert has_outlier(wild)
        frame[5, 5:7] = 60000
        assert has_outlier(frame)


@pytest.mark.parametrize("shape", [(600, 600), (41, 57), (9, 30), (5, 6)])
def test_means_of_blocks_are_those_of_numpy_to_the_last_bit(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(3).gamma(2.0, 3.0, shape).astype(np.float32)[None]
    whole = values[:, :8, : shape[1] // 8 * 8] if min(shape) >= 8 else values
    blocks = whole.reshape(1, whole.shape[1], -1, 8) if min(shape) >= 8 else whole[:, :, None]
    expected = blocks.mean(axis=(1, 3), dtype=np.float64).ravel()
    assert of_blocks(values).tobytes() == expected.tobytes()
