"""The truth of simulated frames is what their detector counts in the mean."""

import numpy as np
import pytest

from dimstream_models.training.error_bars.samples import our_world, second_world


@pytest.mark.parametrize("world", [our_world, second_world])
def test_light_is_what_is_counted_in_the_mean(world: object) -> None:
    counted = light = 0.0
    for seed in range(14):
        frame = world(np.random.default_rng(seed), 96)  # type: ignore[operator]
        counted += float(frame.counts.sum())
        light += float(frame.light.sum())
    assert counted / light == pytest.approx(1, abs=0.02)
