"""The gate tells better from worse by frames and photons that never trained."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from training.adapting.own_movies import light_of_points, photons_of, write_movie

from dimstream_models.training.adapting.acceptance import judge
from dimstream_models.training.adapting.stored_movies import Stored, store_movies
from dimstream_models.training.errors import NotBetter

Filter = Callable[[NDArray[Any]], NDArray[np.float32]]


def gaussian(sigma: float) -> Filter:
    return lambda counts: ndimage.gaussian_filter(counts.astype(np.float32), sigma)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Two movies of one session."""
    folder = tmp_path_factory.mktemp("movies")
    paths = [
        write_movie(folder / f"{seed}.tif", photons_of(light_of_points(18, seed=seed), seed=seed))
        for seed in (1, 2)
    ]
    return store_movies(paths, folder / "stored", seed=0)


def test_a_better_filter_passes(stored: Stored) -> None:
    decision = judge(gaussian(0.5), gaussian(1.5), stored, seed=0)
    decision.require()
    assert set(decision.movies) == {"1.tif", "2.tif"}
    assert decision.figures["adapted_next_frame_gain_db"] > 1
    assert decision.figures["adapted_set_aside_z"] < -2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (gaussian(1.5), gaussian(0.3)),  # towards the identity
        (gaussian(1.5), gaussian(6)),  # towards blur
        (gaussian(1.5), lambda counts: np.zeros(counts.shape, np.float32)),
    ],
    ids=["noise", "blur", "nothing"],
)
def test_a_worse_filter_is_refused_with_its_figures(stored: Stored, before: Filter, after: Filter) -> None:
    with pytest.raises(NotBetter) as refused:
        judge(before, after, stored, seed=0).require()
    message = str(refused.value)
    assert "it is worse by the next frame" in message.replace("on 1.tif ", "")
    assert message.count("dB, z +") >= 4
    assert "Nothing was written" in message


def test_what_changes_nothing_is_refused(stored: Stored) -> None:
    with pytest.raises(NotBetter, match="it is not better by the next frame"):
        judge(gaussian(1.5), gaussian(1.5), stored, seed=0).require()
