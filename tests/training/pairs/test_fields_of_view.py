"""Images of one field of view are recognised, and different ones told apart."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from training.pairs.experiments import draw_structure

from dimstream_models.training.pairs.fields_of_view import connect, look_alike, sketch

MOVIES = (
    "14_sim_er_sted/movie_low.tif",
    "06_sted_live_movies/area002_003.tif",
    "06_sted_live_movies/syt_control_002.tif",
)
STACKS = ("14_sim_er_sted/pairs_low.tif", "14_sim_er_sted/pairs_high.tif")


@pytest.mark.parametrize("name", MOVIES)
def test_frames_of_a_movie_are_one_field_of_view(shared: Path, name: str) -> None:
    frames = tifffile.imread(shared / name, key=range(12))
    links = look_alike([sketch(frame) for frame in frames])
    assert set(connect(len(frames), links)) == {0}


@pytest.mark.parametrize("name", STACKS)
def test_independent_fields_are_told_apart(shared: Path, name: str) -> None:
    fields = tifffile.imread(shared / name)
    assert list(look_alike([sketch(field) for field in fields])) == []


def test_neither_brightness_nor_dose_hides_a_field_of_view() -> None:
    rng, structure = np.random.default_rng(0), draw_structure(1)
    again = [rng.poisson(dose * structure + background) for dose, background in ((0.3, 0), (30, 0), (3, 20))]
    assert set(connect(3, look_alike([sketch(image) for image in again]))) == {0}


def test_empty_and_unequal_images_are_like_nothing() -> None:
    images = [np.zeros((96, 96)), np.zeros((96, 96)), draw_structure(1), draw_structure(1)[:, :90]]
    assert list(look_alike([sketch(image) for image in images])) == []


def test_what_belongs_together_through_others_is_one_group() -> None:
    groups = connect(6, [(0, 1), (4, 1), (2, 3)])
    assert groups[0] == groups[1] == groups[4]
    assert groups[2] == groups[3]
    assert len(set(groups)) == 3
    assert len(set(connect(3, []))) == 3


def test_blocks_of_many_images_are_compared_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimstream_models.training.pairs.fields_of_view.BLOCK", 3)
    images = [draw_structure(seed) for seed in (0, 1, 2, 3, 0, 5, 6, 1)]
    assert sorted(look_alike([sketch(image) for image in images])) == [(0, 4), (1, 7)]
