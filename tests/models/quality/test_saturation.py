"""Saturated pixels are found, and ordinary counts are not called saturated."""

import numpy as np
import pytest

from dimstream_models.quality.saturation import saturated_share, shares_at_maximum


def _share(counts: np.ndarray, ceiling: float | None = None) -> float:
    at, near = shares_at_maximum(counts)
    maximum = float(counts.max())
    return saturated_share(
        maximum=maximum, at_maximum=at, near_maximum=near, pixels=counts.size, ceiling=ceiling
    )


@pytest.mark.parametrize("rate", [0.01, 0.3, 3, 50, 1000])
def test_ordinary_counts_are_not_saturated(rate: float) -> None:
    counts = np.random.default_rng(0).poisson(rate, (300, 300))
    assert _share(counts, 65535) == 0


@pytest.mark.parametrize("limit", [4, 8, 60, 1010])
def test_counts_cut_off_at_a_limit_are(limit: int) -> None:
    light = np.full((300, 300), 2.0)
    light[100:140] = 1.5 * limit
    counts = np.random.default_rng(0).poisson(light)
    expected = (counts >= limit).mean()
    assert _share(np.minimum(counts, limit)) == pytest.approx(expected)
    assert expected > 0.1


def test_one_pixel_at_the_types_ceiling_is_saturated() -> None:
    counts = np.random.default_rng(0).poisson(3, (100, 100))
    counts[5, 5] = 255
    assert _share(counts, 255) == pytest.approx(1e-4)
    assert _share(counts) == 0
