"""The rolling ball: equal to ImageJ's to the last bit."""

import imagej
import numpy as np
import pytest

from dimstream_models.analysis.errors import InvalidImage
from dimstream_models.analysis.rolling_ball import rolling_ball, subtract_background

CASES = {case.name: case for case in imagej.cases()}


def own(case: imagej.Case) -> np.ndarray:
    return subtract_background(case.image, radius_px=case.radius_px, smooth=case.smooth)


@pytest.mark.slow
@pytest.mark.skipif(not imagej.is_here(), reason="needs Java and ImageJ (.ci/run fetches them)")
def test_every_image_is_what_imagej_makes_of_it() -> None:
    theirs = imagej.subtracted(list(CASES.values()))
    for case, expected in zip(CASES.values(), theirs, strict=True):
        assert np.array_equal(own(case), expected), case.name
        assert expected.mean() < case.image.mean(), case.name


@pytest.mark.parametrize("name", ["uint16", "float32", "photons"])
def test_images_are_what_imagej_once_made_of_them(name: str) -> None:
    with np.load(imagej.STORED, allow_pickle=False) as stored:
        assert np.array_equal(own(CASES[name]), stored[name])


def test_the_type_is_kept_and_the_background_is_in_the_unit_of_the_image() -> None:
    image = np.full((40, 50), 7, np.uint16)
    assert subtract_background(image).dtype == np.uint16
    assert np.allclose(rolling_ball(image), 7, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "radius", "message"),
    [
        (np.zeros((40, 40)), 15, "float64: convert it first"),
        (np.zeros((2, 40, 40), np.float32), 15, r"\(2, 40, 40\)"),
        (np.zeros((2, 40), np.float32), 15, "more than 2 px"),
        (np.full((40, 40), np.nan, np.float32), 15, "NaN"),
        (np.zeros((40, 40), np.float32), 0.5, "at least 1 px, got 0.5"),
        (np.zeros((40, 40), np.float32), float("inf"), "at least 1 px, got inf"),
    ],
)
def test_what_cannot_be_done_is_refused(image: np.ndarray, radius: float, message: str) -> None:
    with pytest.raises(InvalidImage, match=message):
        rolling_ball(image, radius_px=radius)
