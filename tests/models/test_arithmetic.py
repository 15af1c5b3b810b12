"""The numpy reference against scikit-image and scipy, which share no code with it."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

from dimstream_models import arithmetic
from dimstream_models.arithmetic import Array
from dimstream_models.ssim import ssim, ssim_map


def random_frame(shape: tuple[int, int], *, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0.0, 1.5, shape).astype(np.float32)


def skimage_ssim(a: Array, b: Array, data_range: float, window: int) -> float:
    compute: Any = structural_similarity
    return float(compute(a.astype(float), b.astype(float), data_range=data_range, win_size=window))


def poisson_frame(shape: tuple[int, int], mean: float) -> Array:
    return np.random.default_rng(3).poisson(mean, shape).astype(np.uint16)


@pytest.mark.parametrize(("shape", "window"), [((64, 64), 7), ((37, 51), 7), ((7, 7), 7), ((40, 33), 11)])
@pytest.mark.parametrize("data_range", [1.0, 4.0, 250.0])
def test_ssim_equals_scikit_image(shape: tuple[int, int], window: int, data_range: float) -> None:
    a = random_frame(shape)
    b = (0.8 * a + 0.3 * random_frame(shape, seed=1)).astype(np.float32)
    expected = skimage_ssim(a, b, data_range, window)
    assert ssim(a, b, data_range=data_range, window=window) == pytest.approx(expected, abs=1e-6)


def test_the_map_of_ssim_is_scikit_images_inside() -> None:
    a, b = random_frame((40, 53)), random_frame((40, 53), seed=1)
    _, whole = structural_similarity(
        a.astype(np.float64), b.astype(np.float64), data_range=8.0, win_size=7, full=True
    )
    found = ssim_map(a, b, data_range=8.0, window=7)
    np.testing.assert_allclose(found, whole[3:-3, 3:-3], atol=1e-6)


def test_ssim_stays_exact_on_large_counts() -> None:
    a = random_frame((120, 90)) * 100 + 5000
    b = a + 20 * random_frame((120, 90), seed=1)
    expected = skimage_ssim(a, b, 500.0, 7)
    assert ssim(a, b, data_range=500.0) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_a_frame_with_itself_is_one() -> None:
    assert ssim(random_frame((20, 20)), random_frame((20, 20)), data_range=4.0) == pytest.approx(1)


@pytest.mark.parametrize(
    ("a_shape", "b_shape", "window", "message"),
    [
        ((8, 8), (8, 9), 7, "one shape"),
        ((8, 8), (8, 8), 6, "odd window"),
        ((6, 40), (6, 40), 7, "sides of at least"),
        ((2, 8, 8), (2, 8, 8), 7, "two frames"),
    ],
)
def test_ssim_refuses_what_it_cannot_compare(
    a_shape: tuple[int, ...], b_shape: tuple[int, ...], window: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ssim(np.zeros(a_shape), np.zeros(b_shape), data_range=1.0, window=window)


@pytest.mark.parametrize("shape", [(60, 60), (33, 47), (10, 10), (4, 3), (1, 1)])
@pytest.mark.parametrize("window", [10, 7])
@pytest.mark.parametrize("mean", [0.02, 0.3, 20.0])
def test_window_sums_equal_scipy(shape: tuple[int, int], window: int, mean: float) -> None:
    counts = poisson_frame(shape, mean)
    expected = np.rint(uniform_filter(counts.astype(float), window, mode="reflect") * window**2)
    np.testing.assert_array_equal(arithmetic.window_sums(counts, window), expected)


def test_window_sums_do_not_overflow_small_types() -> None:
    assert arithmetic.window_sums(np.full((12, 12), 255, np.uint8)).max() == 25500


@pytest.mark.parametrize(
    ("level", "expected"),
    [(5, (1.0, 0.0, 0.0)), (6, (0.0, 1.0, 0.0)), (25, (0.0, 1.0, 0.0)), (26, (0.0, 0.0, 1.0))],
)
def test_a_pixel_is_classed_by_the_papers_limits(level: int, expected: tuple[float, float, float]) -> None:
    counts = np.full((10, 10), level / 100)  # every window of 10 x 10 px sums to the level
    assert arithmetic.signal_fractions(counts, 10, 5, 25) == expected


def test_signal_fractions_add_up_to_one() -> None:
    fractions = arithmetic.signal_fractions(poisson_frame((50, 70), 0.15), 10, 5, 25)
    assert sum(fractions) == pytest.approx(1.0)
    assert min(fractions) > 0


@pytest.mark.parametrize(
    ("shape", "padded"), [((8, 8), (8, 8)), ((9, 8), (16, 8)), ((601, 1), (608, 8)), ((600, 600), (600, 600))]
)
def test_edge_pad_reaches_the_step_and_crops_back(shape: tuple[int, int], padded: tuple[int, int]) -> None:
    frame = poisson_frame(shape, 3.0)
    result = arithmetic.edge_pad(frame, 8)
    assert result.shape == padded
    assert result.dtype == frame.dtype
    np.testing.assert_array_equal(result[: shape[0], : shape[1]], frame)
    np.testing.assert_array_equal(result[-1, : shape[1]], frame[-1])
    np.testing.assert_array_equal(result[: shape[0], -1], frame[:, -1])


def test_edge_pad_reaches_the_smallest_side_that_the_network_takes() -> None:
    assert arithmetic.edge_pad(np.zeros((5, 40)), 8, min_side=32).shape == (32, 40)


@pytest.mark.parametrize("shape", [(0, 8), (8,), (1, 8, 8)])
def test_edge_pad_refuses_what_is_no_frame(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one frame"):
        arithmetic.edge_pad(np.zeros(shape), 8)


def test_a_prediction_normalised_by_its_deviation_forgets_gain_and_offset() -> None:
    prediction = random_frame((30, 40))
    normalised = arithmetic.normalise_prediction(prediction, "mean_absolute_deviation")
    again = arithmetic.normalise_prediction(prediction * 7 + 2, "mean_absolute_deviation")
    np.testing.assert_allclose(normalised, again, atol=1e-5)
    assert normalised.dtype == np.float32
    assert float(normalised.mean()) == pytest.approx(0, abs=1e-6)
    assert float(np.abs(normalised).mean()) == pytest.approx(1, abs=1e-6)


def test_a_prediction_normalised_by_its_maximum_peaks_at_one() -> None:
    normalised = arithmetic.normalise_prediction(np.array([[1.0, 4.0]]), "maximum")
    np.testing.assert_array_equal(normalised, np.array([[0.25, 1.0]], np.float32))


@pytest.mark.parametrize("method", ["mean_absolute_deviation", "maximum"])
def test_a_blank_prediction_normalises_to_zeros(method: arithmetic.Normalisation) -> None:
    np.testing.assert_array_equal(arithmetic.normalise_prediction(np.zeros((4, 4)), method), np.zeros((4, 4)))


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(ValueError, match="'minmax'"):
        arithmetic.normalise_prediction(np.zeros((4, 4)), "minmax")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("minimum", "maximum", "expected"),
    [(0.0, 10.0, [0.0, 1.0, 10.0]), (None, None, [-3.0, 1.0, 21.0]), (0.0, None, [0.0, 1.0, 21.0])],
)
def test_rescaling_is_gain_offset_then_clip(
    minimum: float | None, maximum: float | None, expected: list[float]
) -> None:
    prediction = np.array([[-2.0, 0.0, 10.0]])
    result = arithmetic.rescale(prediction, 2.0, 1.0, minimum, maximum)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.array([expected], np.float32))


def test_counts_round_half_to_even_and_stay_in_range() -> None:
    values = np.array([[-1.0, 0.5, 1.5, 65534.6, 7e9]])
    np.testing.assert_array_equal(
        arithmetic.as_counts(values, "uint16"), np.array([[0, 0, 2, 65535, 65535]], np.uint16)
    )


def test_float_counts_are_delivered_as_they_are() -> None:
    result = arithmetic.as_counts(np.array([[-1.25, 7e9]]), np.float32)
    np.testing.assert_array_equal(result, np.array([[-1.25, 7e9]], np.float32))
    assert result.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [([[np.nan]], "uint16", "finite"), ([[np.inf]], "uint16", "finite"), ([[1.0]], "uint8", "uint8")],
)
def test_counts_that_cannot_be_delivered_are_refused(
    values: list[list[float]], dtype: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        arithmetic.as_counts(np.array(values), dtype)
