"""Line profiles of images whose values along any line are known."""

import numpy as np
import pytest

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.metrics.profiles import line_profile, normalise_together

ROWS, COLUMNS = np.indices((20, 30), np.float64)


def test_a_plane_is_linear_along_every_line() -> None:
    start, end = (2.0, 3.0), (14.0, 19.0)  # 20 px long
    found = line_profile(3 * ROWS + COLUMNS, start, end)
    share = np.linspace(0, 1, 21)
    assert found == pytest.approx(3 * (2 + 12 * share) + (3 + 16 * share), rel=1e-12)


def test_a_wide_line_takes_the_mean_across() -> None:
    image = np.where(ROWS == 10, 30.0, 0.0)
    assert line_profile(image, (10, 4), (10, 24)) == pytest.approx(np.full(21, 30.0))
    assert line_profile(image, (10, 4), (10, 24), width_px=5) == pytest.approx(np.full(21, 6.0))


def test_scikit_images_documented_example() -> None:
    image = np.zeros((5, 6), np.uint8)
    image[1:4] = [1, 1, 1, 2, 2, 2]
    assert line_profile(image, (2, 1), (2, 4)).tolist() == [1, 1, 2, 2]


def test_one_scale_for_the_whole_group() -> None:
    found = normalise_together({"noisy": np.array([2.0, 4.0]), "truth": np.array([10.0, 12.0, 7.0])})
    assert {name: values.tolist() for name, values in found.items()} == {
        "noisy": [0.0, 0.2],
        "truth": [0.8, 1.0, 0.5],
    }


def test_a_group_without_contrast_is_zero() -> None:
    found = normalise_together({"noisy": np.full(3, 7.0), "truth": np.full(2, 7.0)})
    assert [values.tolist() for values in found.values()] == [[0, 0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("start", "end", "width"), [((0, 0), (20, 0), 1), ((-1, 0), (3, 3), 1), ((0, 0), (3, 3), 0)]
)
def test_refuses_lines_that_leave_the_image(
    start: tuple[float, float], end: tuple[float, float], width: int
) -> None:
    with pytest.raises(CannotEvaluate, match="expected a line"):
        line_profile(ROWS, start, end, width_px=width)


def test_refuses_to_normalise_nothing() -> None:
    with pytest.raises(CannotEvaluate, match="at least one profile"):
        normalise_together({})
