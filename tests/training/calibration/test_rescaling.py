"""Scale and offset against answers that are known, and against numpy on all pixels at once."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dimstream_models.training.calibration import rescaling
from dimstream_models.training.calibration.rescaling import PredictedPair, RescalingMethod, fit_rescaling
from dimstream_models.training.errors import CannotCalibrate

METHODS: tuple[RescalingMethod, ...] = ("least_squares", "clipped_quantiles")
GAIN, OFFSET = 280.0, -3.0


def noisy_pairs(number: int = 5, side: int = 48) -> list[PredictedPair]:
    """Predictions between 0 and 1 and their truths: a line, photon noise on it, a few hot pixels."""
    rng = np.random.default_rng(0)
    pairs = []
    for index in range(number):
        prediction = rng.gamma(1.0, 0.05 * (index + 1), (side, side + index)).astype(np.float32)
        truth = rng.poisson(np.maximum(GAIN * prediction + OFFSET, 0))
        pairs.append((prediction, truth.astype(np.uint16)))
    return pairs


def columns(pairs: list[PredictedPair]) -> list[NDArray[Any]]:
    return [np.concatenate([pair[side].ravel() for pair in pairs]).astype(np.float64) for side in (0, 1)]


def test_least_squares_is_numpys_line_through_all_pixels() -> None:
    pairs = noisy_pairs()
    found = fit_rescaling(iter(pairs), "least_squares", data="noise")
    prediction, truth = columns(pairs)
    assert (found.gain, found.offset) == pytest.approx(np.polyfit(prediction, truth, 1), rel=1e-9)
    residual = truth - found.gain * prediction - found.offset
    record = found.record
    assert record.rms_error == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-9)
    assert record.r_squared == pytest.approx(np.corrcoef(prediction, truth)[0, 1] ** 2, rel=1e-9)
    assert (record.images, record.pixels, record.data) == (5, len(truth), "noise")
    assert record.prediction_bounds is record.truth_bounds is None


def test_clipped_quantiles_is_numpys_line_through_clipped_pixels() -> None:
    pairs = noisy_pairs()
    found = fit_rescaling(iter(pairs), "clipped_quantiles", data="noise")
    bounds = [np.quantile(values, (0.01, 0.99)) for values in columns(pairs)]
    clipped = [np.clip(x, *b) for x, b in zip(columns(pairs), bounds, strict=True)]
    assert (found.gain, found.offset) == pytest.approx(np.polyfit(*clipped, 1), rel=1e-5)  # float32 sample
    assert found.record.prediction_bounds == pytest.approx(bounds[0], rel=1e-5)
    assert found.record.truth_bounds == pytest.approx(bounds[1])


@pytest.mark.parametrize("method", METHODS)
def test_a_straight_line_is_recovered(method: RescalingMethod) -> None:
    prediction = np.random.default_rng(1).random((40, 40)).astype(np.float32)
    found = fit_rescaling([(prediction, GAIN * prediction + OFFSET)], method, data="a line")
    assert (found.gain, found.offset) == pytest.approx((GAIN, OFFSET), rel=1e-4)
    assert found.record.r_squared == pytest.approx(1, abs=1e-6)


def test_hot_pixels_move_the_clipped_line_less() -> None:
    pairs = noisy_pairs()
    hot = np.random.default_rng(2)
    for _, truth in pairs:
        truth[hot.random(truth.shape) < 0.004] = 60_000
    plain, clipped = (abs(fit_rescaling(pairs, method, data="hot").gain / GAIN - 1) for method in METHODS)
    assert clipped < 0.15 < plain


@pytest.mark.parametrize("method", METHODS)
def test_memory_does_not_grow_with_the_images(
    method: RescalingMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescaling, "SAMPLE_PIXELS", 20_000)
    side, number = 128, 60

    def pairs() -> Iterator[PredictedPair]:
        for index in range(number):
            prediction = np.random.default_rng(index).random((side, side), dtype=np.float32)
            yield prediction, GAIN * prediction + index

    tracemalloc.start()
    found = fit_rescaling(pairs(), method, data="many")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e6 < number * side * side * 8  # one image in float64 is 131 kB, all predictions 8 MB
    assert found.gain == pytest.approx(GAIN, rel=0.02)
    assert found.offset == pytest.approx((number - 1) / 2, abs=2)  # images from first to last count alike
    assert found.record.images == number
    if method == "clipped_quantiles":
        assert 5_000 < found.record.pixels <= 20_000


RAMP = np.arange(64.0).reshape(8, 8)
REFUSED: dict[str, tuple[list[PredictedPair], str]] = {
    "no pairs": ([], "expected training pairs with clean images, got none from nowhere"),
    "two shapes": ([(RAMP, RAMP[1:])], r"of one shape, got \(8, 8\) and \(7, 8\)"),
    "nan": ([(np.full((8, 8), np.nan), RAMP)], "got nan or infinity"),
    "a constant prediction": ([(np.ones((8, 8)), RAMP)], "variance of 0 over 64 pixels"),
    "a falling line": ([(-RAMP, RAMP)], "expected predictions that rise with their ground truth"),
    "a constant truth": ([(RAMP, np.ones((8, 8)))], "a covariance of 0"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("pairs", "message"), REFUSED.values(), ids=REFUSED)
def test_what_gives_no_line_is_refused(
    pairs: list[PredictedPair], message: str, method: RescalingMethod
) -> None:
    with pytest.raises(CannotCalibrate, match=message):
        fit_rescaling(pairs, method, data="nowhere")


def test_sparse_structure_that_clipping_removes_is_told() -> None:
    truth = np.zeros((40, 40))
    truth[3, 3:13] = 50.0
    with pytest.raises(CannotCalibrate, match="use least_squares"):
        fit_rescaling([(truth / 50, truth)], "clipped_quantiles", data="one filament")
    assert fit_rescaling([(truth / 50, truth)], "least_squares", data="one filament").gain == pytest.approx(
        50
    )
