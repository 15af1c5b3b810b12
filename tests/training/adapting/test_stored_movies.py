"""Movies from which nothing can be learned are refused before anything is trained, in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from training.adapting.own_movies import light_of_points, photons_of, write_movie

from dimstream_models.training.adapting.stored_movies import store_movies
from dimstream_models.training.cli import main

Values = NDArray[Any]


def movie_of_points() -> Values:
    return photons_of(light_of_points(18))


def empty() -> Values:
    return np.random.default_rng(0).poisson(0.5, (18, 64, 64)).astype(np.uint16)


def shuffled() -> Values:
    return movie_of_points()[np.random.default_rng(3).permutation(18)]


def other_fields() -> Values:
    return np.concatenate([photons_of(light_of_points(1, seed=seed)) for seed in range(18)])


def other_fields_at_the_end() -> Values:
    return np.concatenate([movie_of_points()[:12], other_fields()[12:]])


def smoothed() -> Values:
    return np.rint(ndimage.gaussian_filter(movie_of_points().astype(float), (0, 1, 1))).astype(np.uint16)


def camera() -> Values:
    return np.rint(100 + 2.2 * movie_of_points()).astype(np.uint16)


def averaged() -> Values:
    return (movie_of_points()[:17] + movie_of_points()[1:]).astype(np.float32) / 2


HARMFUL: dict[str, tuple[Callable[[], Values], str]] = {
    "empty noise": (empty, "expected a sample in the frames, got only noise"),
    "shuffled frames": (shuffled, "frames are not in order"),
    "a field of view each": (other_fields, "neighbours that show different samples"),
    "other fields where it is decided": (other_fields_at_the_end, "at least 3 frames in the last third"),
    "smoothed": (smoothed, "expected photon counts, whose variance equals their mean"),
    "camera values": (camera, "expected photon counts, whose variance equals their mean"),
    "averages": (averaged, "expected whole numbers of photons"),
    "too short": (lambda: movie_of_points()[:6], "expected a movie of at least 15 frames"),
    "too small": (lambda: movie_of_points()[:, :24, :24], "expected frames of at least 32 px a side"),
}


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMFUL)
def test_harm_is_refused_and_nothing_is_written(
    harm: str, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, reason = HARMFUL[harm]
    path = write_movie(tmp_path / "movie.tif", make())
    assert main(["adapt", str(tiny_bundle), str(path), "--out", str(tmp_path / "new"), "--steps", "20"]) == 2
    assert reason in " ".join(capsys.readouterr().err.split())
    assert [each.name for each in tmp_path.iterdir()] == ["movie.tif"]


@pytest.mark.slow
def test_a_z_stack_is_no_movie(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_movie(tmp_path / "stack.ome.tif", movie_of_points(), axes="ZYX")
    assert main(["adapt", str(tiny_bundle), str(path), "--out", str(tmp_path / "new")]) == 2
    assert "expected a movie of one channel, plane and position" in capsys.readouterr().err


def test_movies_that_move_stand_still_or_bleach_are_taken(tmp_path: Path) -> None:
    bleaching = light_of_points(18) * np.geomspace(1, 0.4, 18)[:, None, None]
    for name, light in {
        "moves": light_of_points(18),
        "stands still": light_of_points(18, drift_px=0),
        "bleaches": bleaching,
    }.items():
        path = write_movie(tmp_path / f"{name}.tif", photons_of(light))
        assert store_movies([path], tmp_path / name, seed=0).index.movies[0].training == 12
