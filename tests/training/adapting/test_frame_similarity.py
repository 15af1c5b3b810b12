"""How alike frames are does not hang on their dose, and what moved is found."""

import numpy as np
import pytest
from training.adapting.own_movies import light_of_points, photons_of

from dimstream_models.training.adapting.frame_similarity import likeness, unmoved


@pytest.mark.parametrize("dose", [0.05, 0.3, 3.0])
def test_a_still_scene_is_alike_however_faint(dose: float) -> None:
    light = np.repeat(light_of_points(1, side=192), 2, axis=0)
    assert likeness(*photons_of(dose * light)) == pytest.approx(1, abs=0.1)


def test_two_scenes_are_not_alike() -> None:
    scenes = [photons_of(light_of_points(1, seed=seed))[0] for seed in (1, 2)]
    assert abs(likeness(*scenes)) < 0.3


def test_frames_of_noise_are_not_alike() -> None:
    noise = np.random.default_rng(0).poisson(1.0, (2, 96, 96))
    assert abs(likeness(*noise)) < 0.5
    assert likeness(noise[0], np.zeros((96, 96))) == 0


def test_neighbours_are_more_alike_than_frames_further_apart() -> None:
    movie = photons_of(light_of_points(12))
    near, far = (np.mean([likeness(movie[t], movie[t + lag]) for t in range(12 - lag)]) for lag in (1, 5))
    assert near > far + 0.05


def test_what_moved_is_found_and_what_did_not_is_kept() -> None:
    light = np.full((64, 64), 2.0)
    before, after = light.copy(), light.copy()
    before[20:24, 20:24] += 20
    after[44:48, 44:48] += 20
    still = unmoved(photons_of(before, seed=1), photons_of(after, seed=2), 3.0)
    assert not still[21:23, 21:23].any()
    assert not still[45:47, 45:47].any()
    assert still[:16].mean() > 0.98
