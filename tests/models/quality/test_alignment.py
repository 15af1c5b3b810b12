"""How far the sample moved, from overviews of predictions."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.ndimage import uniform_filter
from skimage.registration import phase_cross_correlation

from dimstream_models.quality.alignment import (
    LOCAL_SIDE,
    Overview,
    correlation_between,
    overlap,
    shift_between,
)

SHIFTS = [(0, 0), (1, 1), (3, -5), (-8, 0), (12, 7), (-20, 31)]


def _field(seed: int, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(360, 360)), 2.5)
    return np.asarray(field / field.std() + noise * rng.normal(size=field.shape))


def _pair(shift: tuple[int, int], noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = shift
    before, after = _field(1, noise), _field(2, noise)
    return before[40:320, 40:320], after[40 - rows : 320 - rows, 40 - columns : 320 - columns]


@pytest.mark.parametrize("shift", SHIFTS)
def test_shifts_are_found_to_a_pixel(shift: tuple[int, int]) -> None:
    before, after = (Overview.of(one) for one in _pair(shift, noise=0.7))
    assert np.abs(np.subtract(shift_between(before, after), shift)).max() <= 1


def test_the_shift_is_scikit_images() -> None:
    before, after = _pair((9, -14))
    reference, _, _ = phase_cross_correlation(before, after, normalization=None, upsample_factor=1)
    assert shift_between(Overview.of(before), Overview.of(after)) == pytest.approx(tuple(-reference), abs=1)


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_overlap_shows_the_same_sample(shift: tuple[int, int]) -> None:
    before, after = overlap(*_pair(shift), shift)
    np.testing.assert_array_equal(before, after)
    assert before.shape == (280 - abs(shift[0]), 280 - abs(shift[1]))


def test_overviews_are_means_of_squares_that_hold_specks() -> None:
    frame = np.arange(9 * 13, dtype=float).reshape(9, 13) / 40
    frame[5, 5] = 1e6
    small = Overview.of(frame).pixels
    assert small.shape == (2, 3)
    assert small[0, 0] == pytest.approx(frame[:4, :4].mean())
    assert small[1, 1] <= 10


def test_what_was_made_for_one_comparison_serves_the_next() -> None:
    first, second, third = (Overview.of(_field(seed, noise=0.7)) for seed in range(3))
    correlation_between(first, second, shift_between(first, second))
    again = Overview(second.pixels)
    assert shift_between(second, third) == shift_between(again, third)
    assert correlation_between(second, third, (4, 8)) == correlation_between(again, third, (4, 8))


def test_correlation_is_numpys_of_what_is_finer_than_the_local_mean() -> None:
    before, after = (Overview.of(one) for one in _pair((0, 0), noise=0.7))
    fine = [
        one - uniform_filter(one.astype(float), LOCAL_SIDE, mode="nearest")
        for one in (before.pixels, after.pixels)
    ]
    expected = np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1]
    assert correlation_between(before, after, (0, 0)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_same_structures_correlate_wherever_they_moved_and_others_do_not(shift: tuple[int, int]) -> None:
    before, after = (Overview.of(one) for one in _pair(shift, noise=0.3))
    other = Overview.of(_pair((0, 0), noise=0.3)[0][::-1])
    same = correlation_between(before, after, shift_between(before, after))
    unlike = correlation_between(before, other, shift_between(before, other))
    assert same is not None
    assert unlike is not None
    assert same > 0.5 > 0.25 > unlike


def test_what_is_even_or_too_small_correlates_with_nothing() -> None:
    even, small = (Overview(np.ones((rows, 20), np.float32)) for rows in (20, 7))
    assert correlation_between(even, even, (0, 0)) == 0
    assert correlation_between(small, small, (0, 0)) is None


def test_no_shift_is_read_from_what_is_too_small() -> None:
    small = np.random.default_rng(0).normal(size=(7, 20))
    assert shift_between(Overview(small), Overview(np.roll(small, 2, axis=1))) == (0, 0)
