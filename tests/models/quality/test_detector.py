"""Values of a detector become photons."""

import numpy as np
import pytest

from dimstream_models.quality.detector import Detector

PHOTONS = np.random.default_rng(0).poisson(2.0, (40, 50))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_photons_come_out_of_values(dtype: str) -> None:
    photons = Detector(offset=100, gain=4).photons((100 + 4 * PHOTONS).astype(dtype))
    assert photons.dtype == np.float32
    np.testing.assert_array_equal(photons, PHOTONS)


def test_values_below_the_offset_stay_below_zero() -> None:
    values = np.asarray([[99, 100, 102]], np.uint16)
    np.testing.assert_array_equal(Detector(100, 2).photons(values), [[-0.5, 0, 1]])


def test_what_is_not_given_changes_nothing() -> None:
    assert Detector.given(None, None) is None
    assert Detector.given(3.0, None) == Detector(3, 1)
    assert Detector.given(None, 3.0) == Detector(0, 3)
