"""What bounds the overlap of found and true ER, on shapes whose edges can be counted."""

import numpy as np
import pytest
from skimage.draw import disk

from dimstream_models.analysis.edge_limits import best_threshold, bounds_table, edge_bounds, edge_pixels


def square() -> np.ndarray:
    mask = np.zeros((30, 30), bool)
    mask[10:20, 10:20] = True
    return mask


def test_the_edge_has_pixels_on_both_sides_and_none_where_the_frame_ends() -> None:
    assert edge_pixels(square()).sum() == 36 + 40
    assert not edge_pixels(np.ones((9, 9), bool)).any()
    half = np.zeros((8, 8), bool)
    half[:4] = True
    assert edge_pixels(half).sum() == 16


def test_half_a_pixel_flips_half_of_the_pixels_at_the_edge() -> None:
    bounds = edge_bounds("squares", [square(), square()])
    assert bounds.outward == pytest.approx(100 / 120)
    assert bounds.inward == pytest.approx(82 / 100)
    assert "| squares | 0.833 | 0.820 | 0.760 |" in bounds_table([bounds])


def test_the_bound_is_what_discs_half_a_pixel_larger_and_smaller_have_in_common() -> None:
    def drawn(radius: float) -> list[np.ndarray]:
        masks = []
        for middle in np.random.default_rng(1).uniform(30, 34, (40, 2)):
            masks.append(np.zeros((64, 64), bool))
            masks[-1][disk(middle, radius)] = True
        return masks

    def overlap(radius: float) -> float:
        pairs = list(zip(drawn(12.0), drawn(radius), strict=True))
        return sum((a & b).sum() for a, b in pairs) / sum((a | b).sum() for a, b in pairs)

    bounds = edge_bounds("discs", drawn(12.0))
    assert bounds.outward == pytest.approx(overlap(12.5), abs=0.015)
    assert bounds.inward == pytest.approx(overlap(11.5), abs=0.015)


def test_the_best_threshold_finds_what_is_brighter_and_no_more() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (30, 30))
    image[square()] += 1.5
    assert (best_threshold(image, square()) == square()).all()
    nothing = np.zeros((8, 8), bool)
    assert best_threshold(np.zeros((8, 8)), nothing).sum() == 0
