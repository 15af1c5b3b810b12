"""Registration against known sub-pixel shifts, at the doses of real pairs."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from training.pairs.experiments import draw_structure, shift_periodic

from dimstream_models.training.pairs.registration import Shift, align, correlation, measure_shift


@pytest.fixture(scope="module")
def errors_px(shared: Path) -> NDArray[np.float64]:
    """Errors of 8 shifts of up to 6 px, on simulated ER at 0.2 photons per pixel in the mean, (8, 2)."""
    folder, rng = shared / "14_sim_er_sted", np.random.default_rng(0)
    lows = tifffile.imread(folder / "pairs_low.tif", key=range(8))
    truths = tifffile.imread(folder / "pairs_truth_x100.tif", key=range(8)) / 100
    errors = []
    for low, truth in zip(lows, truths, strict=True):
        shift = rng.uniform(-6, 6, 2)
        margin = np.s_[8:-8, 8:-8]  # what the Fourier shift wraps around is cut off
        high = rng.poisson(shift_periodic(truth, (-shift[0], -shift[1])))[margin]
        measured = measure_shift(low[margin], high)
        assert measured is not None
        errors.append(np.abs(np.subtract(measured.px, shift)))
    return np.array(errors)


def test_shifts_at_a_photon_per_pixel_are_found_to_a_tenth_of_a_pixel(errors_px: NDArray[np.float64]) -> None:
    # photon noise alone: measured 0.046 in the median of 32 such images, 0.042 at 600 x 600 px
    assert np.median(errors_px) < 0.07
    assert np.quantile(errors_px, 0.9) < 0.2
    assert errors_px.max() < 0.4  # in a field with hardly a tubule


@pytest.mark.parametrize("shift", [(0.5, -0.5), (3.25, 7.75), (-9.1, 0.02)])
def test_shifts_at_high_dose_are_found_to_a_hundredth(shift: tuple[float, float]) -> None:
    rng, structure = np.random.default_rng(2), draw_structure(2, 128)
    low = rng.poisson(1000 * structure)
    high = rng.poisson(1000 * shift_periodic(structure, (-shift[0], -shift[1])))
    measured = measure_shift(low, high)
    assert measured is not None
    assert measured.px == pytest.approx(shift, abs=0.02)


def test_alignment_puts_the_high_dose_onto_the_low_and_crops_what_it_left() -> None:
    shift = Shift((2.4, -3.7), (0.02, 0.02))
    truth = 1000 * draw_structure(3)
    low, high = truth.astype(np.uint16), shift_periodic(truth, (-2.4, 3.7)).round().astype(np.uint16)
    aligned = align(low, high, shift)
    assert aligned.moved
    assert aligned.low.shape == aligned.high.shape == (96 - 4, 96 - 5)
    np.testing.assert_array_equal(aligned.low, low[4:, :-5])
    # the mirrored border bends what reaches it: 1 % of the largest value
    assert np.abs(aligned.high.astype(float) - aligned.low).max() < 0.01 * truth.max()


@pytest.mark.parametrize("shift", [(0.5, 0.5), (0.25, -3.5), (-1.1, 0.6)])
def test_moved_photon_counts_stay_as_noisy_in_their_finest_detail(shift: tuple[float, float]) -> None:
    counts = np.random.default_rng(8).poisson(50.0, (256, 256)).astype(np.uint16)
    moved = align(counts, counts, Shift(shift, (0.01, 0.01))).high.astype(float)
    detail = moved[:-1, :-1] - moved[1:, :-1] - moved[:-1, 1:] + moved[1:, 1:]  # 4 times the variance
    # 0.2 to 0.6 after a cubic spline; a Fourier shift loses the Nyquist frequency alone
    assert detail.var() / 4 / moved.mean() == pytest.approx(1, abs=0.05)


def test_interpolation_gives_whole_counts_from_zero_on() -> None:
    high = np.zeros((32, 32), np.uint16)
    high[16, 16] = 65535  # interpolation undershoots next to it
    moved = align(high, high, Shift((0.5, 0.5), (0.01, 0.01))).high
    assert moved.dtype == np.uint16
    assert moved.max() < 40000  # spread, not wrapped


LEFT = {
    "not measured": None,
    "not worth it": Shift((0.06, -0.06), (0.001, 0.001)),
    "explained by its error": Shift((0.5, -0.4), (0.3, 0.3)),
}


@pytest.mark.parametrize("shift", LEFT.values(), ids=LEFT)
def test_what_is_not_certain_is_left_as_it_is(shift: Shift | None) -> None:
    high = np.arange(1024, dtype=np.uint16).reshape(32, 32)
    aligned = align(high, high, shift)
    assert not aligned.moved
    np.testing.assert_array_equal(aligned.high, high)


def test_errors_are_those_of_repeated_measurements() -> None:
    shift, structure = (0.7, -1.3), draw_structure(6) / 10
    displaced = shift_periodic(structure, (-shift[0], -shift[1]))
    strayed, stated = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        measured = measure_shift(rng.poisson(structure), rng.poisson(20 * displaced))
        assert measured is not None
        strayed.append(np.subtract(measured.px, shift))
        stated.append(measured.error_px)
    # of 40 draws in two directions a spread is known to 8 %; the blocks' own error is about 10 %
    assert np.sqrt(np.mean(np.square(stated))) == pytest.approx(np.sqrt(np.mean(np.square(strayed))), rel=0.3)


def test_noise_alone_moves_no_real_pair(shared: Path) -> None:
    """Camera frames of the same illumination: nothing moved between them, the shift found is noise."""
    folder = shared / "07_pairs_dlsim_mit"
    for index in range(6):
        low, high = (tifffile.imread(folder / f"{kind}_{index:02d}.tif") for kind in ("LE", "HE"))
        shift = measure_shift(low - np.uint16(90), high - np.uint16(90))
        assert shift is not None
        assert not shift.certain


def test_drift_during_an_average_is_found_alike_in_all_its_channels(shared: Path) -> None:
    """One frame against the mean of 50, in three channels of one field of view."""
    folder, shifts = shared / "09_pairs_fmd_confocal", []
    for channel in "BGR":
        low, high = (tifffile.imread(folder / dose / f"BPAE_{channel}.tif") for dose in ("low", "high"))
        shift = measure_shift(low, high)
        assert shift is not None
        assert shift.certain
        shifts.append(shift.px)
    np.testing.assert_allclose(shifts, [np.mean(shifts, axis=0)] * 3, atol=0.1)


def test_correlation_rises_with_alignment_and_is_none_for_nothing() -> None:
    truth = 50 * draw_structure(4)
    low, high = truth.astype(np.uint16), np.roll(truth, 4, axis=0).astype(np.uint16)
    aligned = align(low, high, Shift((-4.0, 0.0), (0.01, 0.01)))
    apart, together = correlation(low, high), correlation(aligned.low, aligned.high)
    assert apart is not None
    assert together is not None
    assert apart < 0.7 < 0.99 < together
    assert correlation(low, np.zeros_like(low)) is None


@pytest.mark.parametrize("empty", ["low", "high", "both"])
def test_where_nothing_is_seen_there_is_no_shift(empty: str) -> None:
    image = (50 * draw_structure(5)).astype(np.uint16)
    low, high = (np.zeros_like(image) if empty in (dose, "both") else image for dose in ("low", "high"))
    assert measure_shift(low, high) is None
