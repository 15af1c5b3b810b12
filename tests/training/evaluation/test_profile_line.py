"""The line goes where the structure is."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dimstream_models.training.evaluation.pictures import line_through_structure


def test_the_line_crosses_stripes_at_a_right_angle() -> None:
    stripes = np.zeros((200, 220))
    stripes[40:60, ::12] = 50.0  # vertical stripes in rows 40 to 59
    (y0, x0), (y1, x1) = line_through_structure(stripes)
    assert y0 == y1
    assert 40 <= y0 < 60
    assert x1 - x0 == 127
    assert line_through_structure(stripes.T) == ((x0, y0), (x1, y1))


def test_the_line_lies_inside_a_small_image_whatever_it_holds() -> None:
    for shape in ((1, 7), (41, 64), (130, 129)):
        for image in (np.zeros(shape), np.random.default_rng(0).poisson(3.0, shape)):
            for y, x in line_through_structure(image):
                assert 0 <= y <= shape[0] - 1
                assert 0 <= x <= shape[1] - 1


def test_no_other_row_or_column_is_steeper() -> None:
    image = np.kron(np.random.default_rng(1).random((20, 30)), np.ones((8, 8)))  # 160 x 240
    smooth = gaussian_filter(image, 1.5)

    def slopes(pixels: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        steps = np.diff(pixels, axis=axis) ** 2
        return np.asarray(sliding_window_view(steps, 127, axis).sum(-1))

    (y0, x0), (y1, x1) = line_through_structure(image)
    along = smooth[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1].ravel()
    steepest = max(slopes(smooth, 0).max(), slopes(smooth, 1).max())
    assert np.sum(np.diff(along) ** 2) == pytest.approx(steepest, rel=0.02)  # a step more or less at its end
