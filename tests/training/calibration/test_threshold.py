"""The threshold of the flag against answers that are known beforehand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from dimstream_models.bundle import SsimSettings
from dimstream_models.training.calibration.movies import Movies
from dimstream_models.training.calibration.separation import area_under_curve
from dimstream_models.training.calibration.simulated import rescaling_of_scenes, threshold_of_scenes
from dimstream_models.training.calibration.threshold import (
    FlagThresholds,
    Origin,
    adjacent_similarity,
    calibrate_flag,
    normalised_predictions,
    ssim_settings,
)
from dimstream_models.training.errors import CannotCalibrate, InvalidPairs
from dimstream_models.training.settings import Recipe

SCALE = ssim_settings(8.0)
Counts = NDArray[np.uint16]


def as_it_is(counts: Counts) -> NDArray[np.float32]:
    return counts.astype(np.float32)


def movie(kind: str, frames: int = 8, *, photons: float = 60.0, seed: int = 0) -> Counts:
    """Stripes that stand still, or a detector alone."""
    rng = np.random.default_rng((seed, kind == "dark"))
    light = photons * (np.arange(48) // 6 % 2) if kind == "signal" else np.full(48, 0.3)
    return rng.poisson(light, (frames, 40, 48)).astype(np.uint16)


def calibrate(signal: list[Counts], dark: list[Counts], false_alarm_rate: float = 0.01) -> FlagThresholds:
    origin = Origin(movies="these and of those", note="stripes")
    return calibrate_flag(signal, dark, as_it_is, SCALE, false_alarm_rate=false_alarm_rate, origin=origin)


def similarities(movie: Counts, scale: SsimSettings = SCALE) -> list[float]:
    return adjacent_similarity(normalised_predictions(movie, as_it_is, scale), scale)


def test_area_under_curve_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    signal, dark = rng.integers(0, 9, 40) + 2.0, rng.integers(0, 9, 30) + 0.0
    pairs = signal[:, None] - dark
    assert area_under_curve(signal, dark) == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


def test_adjacent_similarity_is_scikit_images_on_normalised_predictions() -> None:
    frames = np.random.default_rng(1).poisson(3.0, (3, 40, 48)).astype(np.uint16)
    scale = SsimSettings(normalisation="mean_absolute_deviation", data_range=8.0, window=7)
    found = similarities(frames, scale)
    planes = [(f - f.mean()) / np.abs(f - f.mean()).mean() for f in frames.astype(float)]
    expected = [structural_similarity(planes[i], planes[i + 1], data_range=8.0) for i in range(2)]
    assert found == pytest.approx(expected, abs=1e-5)


def test_the_threshold_lies_halfway_in_the_gap() -> None:
    found = calibrate([movie("signal"), movie("signal", seed=1)], [movie("dark", 12)])
    alike = similarities(movie("signal"))
    alike += similarities(movie("signal", seed=1))
    invented = similarities(movie("dark", 12))
    floor, ceiling = np.quantile(alike, 0.01), np.quantile(invented, 0.99)
    assert found.value == pytest.approx((floor + ceiling) / 2, abs=1e-4)
    record = found.record
    assert (record.auc, record.false_alarm_rate) == (1.0, 0.0)
    assert (record.signal_pairs, record.dark_pairs) == (14, 11)
    assert record.signal_quantiles["0.5"] == pytest.approx(np.median(alike), abs=1e-5)
    assert (record.doses_photons, record.frame_interval_s, record.seed) == ((), None, None)
    assert "of these and of those" in record.method
    assert record.note == "stripes"


def test_without_a_gap_the_false_alarm_rate_decides() -> None:
    bleached = [movie("signal", 30), movie("dark", 30, seed=1)]  # half of it shows nothing any more
    found = calibrate(bleached, [movie("dark", 30)], false_alarm_rate=0.2)
    alike = [each for part in bleached for each in similarities(part)]
    assert found.value == pytest.approx(np.quantile(alike, 0.2), abs=1e-4)
    assert found.record.false_alarm_rate == pytest.approx(0.2, abs=1 / len(alike))
    assert 0.6 < found.record.auc < 1


REFUSED: dict[str, tuple[Callable[[], FlagThresholds], str]] = {
    "a still image": (
        lambda: calibrate([movie("signal")], [movie("dark", 1)]),
        r"dark movies \(T, H, W\) of at least 3 frames, .* got shape \(1, 40, 48\)",
    ),
    "two pairs": (
        lambda: calibrate([movie("signal", 3)], [movie("dark")]),
        "at least 3 pairs of adjacent signal frames, got 2",
    ),
    "a plane": (lambda: calibrate([movie("signal")[0]], [movie("dark")]), r"got shape \(40, 48\)"),
    "frames smaller than the window": (
        lambda: calibrate([movie("signal")], [movie("dark")[:, :6]]),
        r"7 px a side, got shape \(8, 6, 48\)",
    ),
    "swapped movies": (
        lambda: calibrate([movie("dark")], [movie("signal")]),
        r"area under the curve of 0\.000, no better than chance: SSIM of .* for signal and .* for dark",
    ),
    "two of a kind": (
        lambda: calibrate([movie("dark")], [movie("dark", seed=1)]),
        r"no better than chance: .*recorded without a sample",
    ),
}


@pytest.mark.parametrize(("wrong", "message"), REFUSED.values(), ids=REFUSED)
def test_movies_that_say_nothing_are_refused(wrong: Callable[[], FlagThresholds], message: str) -> None:
    with pytest.raises(CannotCalibrate, match=message):
        wrong()


def test_predictions_that_are_no_numbers_are_refused() -> None:
    def broken(counts: Counts) -> NDArray[np.float32]:
        return np.where(counts > 70, np.inf, counts).astype(np.float32)

    with (
        pytest.raises(CannotCalibrate, match="finite predictions of the signal movies"),
        np.errstate(all="ignore"),
    ):
        calibrate_flag(
            [movie("signal")],
            [movie("dark")],
            broken,
            SCALE,
            false_alarm_rate=0.01,
            origin=Origin(movies="broken"),
        )


def test_movies_are_read_from_files_and_named_in_the_record(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cell.ome.tif", movie("signal"), metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "empty.tif", movie("dark"), photometric="minisblack")
    movies = Movies([tmp_path / "cell.ome.tif"], [tmp_path / "empty.tif"])
    found = movies.threshold(as_it_is, SCALE, false_alarm_rate=0.01)
    assert found is not None
    assert found.value == calibrate([movie("signal")], [movie("dark")]).value
    for name in ("signal: cell.ome.tif (sha256 ", "dark: empty.tif (sha256 "):
        assert name in found.record.note
    assert str(tmp_path) not in found.record.note


def test_one_kind_of_movie_is_not_enough(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "cell.tif", movie("signal"), photometric="minisblack")
    with pytest.raises(CannotCalibrate, match="expected a dark movie in addition to the signal movie"):
        Movies([tmp_path / "cell.tif"]).threshold(as_it_is, SCALE, false_alarm_rate=0.01)
    assert Movies(dark=[tmp_path / "cell.tif"]).threshold(as_it_is, SCALE, false_alarm_rate=0.01) is None
    with pytest.raises(InvalidPairs, match="expected a signal movie, but there is no such file"):
        Movies([tmp_path / "none.tif"], [tmp_path / "cell.tif"]).threshold(
            as_it_is, SCALE, false_alarm_rate=0.01
        )


def test_the_shared_movies_are_told_apart_even_without_a_network(shared: Path) -> None:
    """On raw counts with a sample smoothed by nobody the dark movie still is the less alike."""
    folder = shared / "14_sim_er_sted"
    frames = {kind: tifffile.imread(folder / f"movie_{kind}.tif")[:6] for kind in ("high", "dark")}
    found = calibrate([frames["high"]], [frames["dark"]])
    assert found.record.auc == 1.0


def bright(recipe: Recipe, **settings: object) -> Recipe:
    update = {"dose": (80.0, 90.0), "dark_counts": (0.3, 0.5), **settings}
    return recipe.model_copy(update={"calibration": recipe.calibration.model_copy(update=update)})


def test_simulated_scenes_give_a_known_scale(tiny_recipe: Recipe) -> None:
    def denoise(counts: Counts) -> NDArray[np.float32]:
        return (counts / 4.0 + 0.5).astype(np.float32)  # a "network" that only rescales

    found = rescaling_of_scenes(bright(tiny_recipe), denoise, fields=6)  # photon noise hardly matters
    assert found.gain == pytest.approx(4 * 70, rel=0.02)
    assert found.offset == pytest.approx(-0.5 * 4 * 70, abs=60)  # 1 % of a tubule's high-dose counts
    assert (found.record.images, found.record.data) == (6, "6 simulated training fields")


def test_simulated_movies_give_a_threshold(tiny_recipe: Recipe) -> None:
    found = threshold_of_scenes(bright(tiny_recipe, ssim_data_range=8.0), as_it_is)
    record = found.record
    assert record.dark_quantiles["1"] < found.value < record.signal_quantiles["0"]
    assert (record.auc, record.false_alarm_rate) == (1.0, 0.0)
    assert (record.signal_pairs, record.dark_pairs) == (4, 4)
    assert (record.doses_photons, record.seed) == ((80.0, 90.0), tiny_recipe.seed)
