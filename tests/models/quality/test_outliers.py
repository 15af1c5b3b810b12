"""Wild pixels are found and replaced, wherever they lie; nothing else is touched."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, rank_filter

from dimstream_models.arithmetic import Array
from dimstream_models.quality.outliers import TIMES, has_outlier, without_outliers

SHAPE = (48, 60)
AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])


def _good(seed: int, brightness: float) -> Array:
    light = gaussian_filter(np.random.default_rng(seed).gamma(0.2, 1.0, SHAPE), 1.5)
    return np.random.default_rng(seed + 1).poisson(brightness * light / light.mean()).astype(np.uint16)


@given(
    seed=st.integers(0, 2**32 - 10),
    brightness=st.sampled_from([0.1, 1.0, 10.0]),
    wild=st.dictionaries(
        st.tuples(st.integers(1, SHAPE[0] - 2), st.integers(1, SHAPE[1] - 2)),
        st.integers(10_000, 65_535),
        min_size=1,
        max_size=5,
    ),
)
def test_up_to_five_wild_pixels_leave_a_frame_as_if_they_had_not_been_there(
    seed: int, brightness: float, wild: dict[tuple[int, int], int]
) -> None:
    good = _good(seed, brightness)
    frame = good.copy()
    for place, value in wild.items():
        frame[place] = value
    assert has_outlier(frame)
    cleaned = without_outliers(frame)
    elsewhere = np.ones(SHAPE, bool)
    elsewhere[tuple(np.array(list(wild)).T)] = False
    assert np.array_equal(cleaned[elsewhere], good[elsewhere])
    assert cleaned.max() <= good.max()
    assert frame.max() >= 10_000  # what came is kept


def test_the_values_put_in_are_scipys_lower_medians() -> None:
    frame = _good(5, 30.0)
    rng = np.random.default_rng(1)
    places = rng.integers(1, SHAPE[0] - 1, 80), rng.integers(1, SHAPE[1] - 1, 80)
    frame[places] = rng.integers(100, 9000, 80)
    medians = rank_filter(frame.astype(np.float64), 3, footprint=AROUND)[1:-1, 1:-1]
    inner = frame[1:-1, 1:-1]
    expected = np.where(inner > TIMES * (medians + 1), medians, inner)
    assert 20 < (expected != inner).sum() < 80
    assert np.array_equal(without_outliers(frame)[1:-1, 1:-1], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("place", [(0, 0), (0, 9), (47, 59), (20, 0)])
def test_those_at_the_border_are_found_in_every_type(place: tuple[int, int], dtype: type) -> None:
    frame = _good(2, 1.0).clip(0, 3).astype(dtype)
    wild = frame.copy()
    wild[place] = 255
    cleaned = without_outliers(wild)
    assert cleaned.dtype == dtype
    assert cleaned[place] <= 3
    wild[place] = frame[place] = 0
    cleaned[place] = 0
    assert np.array_equal(cleaned, frame)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 1), (0, 4)])
def test_frames_of_a_few_pixels_are_no_error(shape: tuple[int, int]) -> None:
    frame = np.zeros(shape, np.float32)
    frame[:1, :1] = 5000
    assert without_outliers(frame).shape == shape


def test_values_below_zero_count_as_none() -> None:
    frame = np.full((5, 5), -20, np.float32)
    frame[2, 2] = TIMES
    assert not has_outlier(frame)
    frame[2, 2] = TIMES + 1
    assert without_outliers(frame)[2, 2] == -20


@pytest.mark.parametrize(
    "name",
    [
        *(f"06_sted_live_movies/area002_00{n}.tif" for n in (1, 2, 3)),
        "06_sted_live_movies/syt_control_002.tif",
        "06_sted_live_movies/syt_triggered_001.tif",
        *(f"14_sim_er_sted/{kind}.tif" for kind in ("movie_low", "movie_dark", "movie_high", "pairs_low")),
    ],
)
def test_recorded_frames_without_any_are_given_on_as_they_are(shared: Path, name: str) -> None:
    """So pixels, maps and flags of ordinary frames are to the last bit what they would be without this."""
    images = tifffile.imread(shared / name)
    for frame in images.reshape(-1, *images.shape[-2:]):
        assert without_outliers(frame) is frame
