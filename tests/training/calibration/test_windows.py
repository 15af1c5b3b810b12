"""Thresholds of the window sums against scipy's filter on the same movie."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from dimstream_models.bundle import Thresholds
from dimstream_models.training.calibration.windows import measure_windows
from dimstream_models.training.errors import CannotCalibrate


def test_the_dark_movie_decides_as_scipy_sums_it() -> None:
    rng = np.random.default_rng(0)
    movies = [rng.poisson(0.08, (7, 40, 52)), rng.poisson(0.12, (5, 30, 30))]
    found = measure_windows(movies, least=12, rate=0.02, note="two movies")
    frames = [frame for movie in movies for frame in movie]
    sums = np.concatenate(
        [np.rint(uniform_filter(frame.astype(float), 10, mode="reflect") * 100).ravel() for frame in frames]
    )
    assert found.background_max == np.quantile(sums, 0.98, method="inverted_cdf")
    assert found.signal_min == np.quantile(sums, 0.996, method="inverted_cdf") > 12
    assert found.record is not None
    assert found.record.dark_frames == 12
    assert found.record.dark_quantiles["0.5"] == np.quantile(sums, 0.5, method="inverted_cdf")
    assert found.record.background_share == pytest.approx(np.mean(sums <= found.background_max), abs=1e-6)
    assert found.record.signal_share == pytest.approx(np.mean(sums > found.signal_min), abs=1e-6)
    assert found.record.note == "two movies"
    before = Thresholds(ssim=0.4, background_max=1, signal_min=2, window_px=10, structure_score=6.0)
    after = found.over(before)
    assert (after.ssim, after.structure_score) == (0.4, 6.0)
    assert (after.background_max, after.signal_min) == (found.background_max, found.signal_min)
    assert found.over(None).ssim is None


def test_signal_stays_at_the_papers_bound_on_a_quiet_detector() -> None:
    found = measure_windows([np.zeros((2, 20, 20), np.uint16)], least=25, rate=0.005)
    assert (found.background_max, found.signal_min) == (0, 25)


def test_a_hot_pixel_does_not_decide() -> None:
    dark = np.zeros((3, 400, 400), np.uint16)
    dark[:, 200, 200] = 65_535  # 100 of 160,000 windows see it
    assert measure_windows([dark], least=25, rate=0.005).signal_min == 25


@pytest.mark.parametrize(
    ("movies", "message"), [([], "got none"), ([np.zeros((4, 9, 40))], "at least 10 px a side")]
)
def test_what_has_no_windows_is_refused(movies: list[np.ndarray], message: str) -> None:
    with pytest.raises(CannotCalibrate, match=message):
        measure_windows(movies, least=25, rate=0.005)
