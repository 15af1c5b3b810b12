import numpy as np
import pytest
from scipy import stats

from dimstream_models.quality.pixel_size import binned, binned_support, finer_pixels, scattered

KNOWN = (16.0, 25.0)


@pytest.mark.parametrize(
    ("pixel_nm", "parts"),
    [(5, 1), (20, 1), (25, 1), (26, 1), (30, 2), (35, 2), (40, 2), (48, 2), (60, 3), (80, 4), (1000, 4)],
)
def test_pixels_are_divided_until_they_are_as_large_as_the_model_knows(pixel_nm: float, parts: int) -> None:
    assert finer_pixels(pixel_nm, KNOWN) == parts


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_no_photon_is_lost_or_added(parts: int, dtype: str) -> None:
    counts = np.random.default_rng(0).poisson(3.0, (9, 14)).astype(dtype)
    finer = scattered(counts, parts, seed=5)
    assert (finer.shape, finer.dtype) == ((9 * parts, 14 * parts), counts.dtype)
    assert (binned(finer, parts) == counts).all()


def test_the_same_frame_is_scattered_alike_and_others_are_not() -> None:
    counts = np.full((20, 20), 4, np.uint16)
    assert (scattered(counts, 2, seed=1) == scattered(counts, 2, seed=1)).all()
    assert (scattered(counts, 2, seed=1) != scattered(counts, 2, seed=2)).any()


def test_poisson_counts_stay_independent_poisson_counts() -> None:
    counts = np.random.default_rng(1).poisson(2.0, (400, 400))
    finer = scattered(counts, 2, seed=0)
    expected = stats.poisson(0.5).pmf(np.arange(5)) * finer.size
    found = np.bincount(finer.ravel(), minlength=5)[:5]
    rest = finer.size - found.sum(), finer.size - expected.sum()
    assert stats.chisquare([*found, rest[0]], [*expected, rest[1]]).pvalue > 0.01
    parts = finer.reshape(400, 2, 400, 2).transpose(1, 3, 0, 2).reshape(4, -1)
    between = np.corrcoef(parts)[np.triu_indices(4, 1)]
    assert np.abs(between).max() < 4 / 400  # four standard errors


def test_the_bits_of_finer_pixels_are_brought_together() -> None:
    finer = np.array(
        [
            [0, 0, 0, 2, 4 + 2, 8 + 4, 8 + 4, 0],
            [0, 0, 1, 0, 0, 1, 0, 8 + 4 + 1],
        ],
        np.uint8,
    )
    assert binned_support(finer, 2).tolist() == [[0, 2, 4 + 2, 8 + 4 + 1]]
