"""What an adapted network is shown and taught: unbiased, and never the photons that decide."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training.adapting.own_movies import light_of_points, photons_of, write_movie

from dimstream_models.training.adapting.mixed_targets import HeldPhotons, MixedSource
from dimstream_models.training.adapting.stored_movies import (
    RUN_FRAMES,
    Stored,
    chosen_frames,
    read_stored,
    store_movies,
)
from dimstream_models.training.errors import CannotAdapt
from dimstream_models.training.settings import MoviesSettings


@pytest.fixture(scope="module")
def stored(movie: Path, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return store_movies([movie], tmp_path_factory.mktemp("stored"), seed=5)


def source(stored: Stored, neighbour_share: float, seed: int = 0) -> MixedSource:
    settings = MoviesSettings(stored=stored.folder, neighbour_share=neighbour_share)
    return MixedSource(stored, settings, batch=8, patch_px=32, seed=seed)


def test_photons_train_or_are_held_back_or_decide(stored: Stored) -> None:
    light = light_of_points(18)
    counts = photons_of(light)
    assert np.array_equal(stored.shown(0) + stored.held(0), counts[:12])
    assert np.array_equal(stored.deciding(0), counts[12:])
    assert stored.held(0).sum() == pytest.approx(0.15 * counts[:12].sum(), rel=0.05)


@pytest.mark.parametrize("neighbour_share", [0.0, 1.0], ids=["split photons", "neighbouring frames"])
def test_targets_have_the_brightness_of_what_is_shown(stored: Stored, neighbour_share: float) -> None:
    batches = [source(stored, neighbour_share).batch(step) for step in range(40)]
    shown, taught = (
        sum(float((getattr(each, part) * each.counted).sum()) for each in batches)
        for part in ("counts", "truth")
    )
    assert taught == pytest.approx(shown, rel=0.02)


def test_a_batch_hangs_on_seed_and_step_alone(stored: Stored) -> None:
    first, again, other = source(stored, 0.5), source(stored, 0.5), source(stored, 0.5, seed=1)
    first.batch(0)
    assert torch.equal(first.batch(7).counts, again.batch(7).counts)
    assert torch.equal(first.batch(7).truth, again.batch(7).truth)
    assert not torch.equal(first.batch(7).counts, other.batch(7).counts)


def test_neighbouring_frames_do_not_teach_where_all_moves(tmp_path: Path) -> None:
    fast = write_movie(tmp_path / "fast.tif", photons_of(light_of_points(18, drift_px=3.0)))
    moving = source(store_movies([fast], tmp_path / "stored", seed=0), 1.0)
    assert moving.movies[0].trust < 0.3


def test_validation_sees_held_photons_the_same_in_every_epoch(stored: Stored) -> None:
    held = HeldPhotons(stored, MoviesSettings(stored=stored.folder), batch=4, patch_px=32)
    assert torch.equal(held.batch(1).truth, held.batch(1 + held.steps_per_epoch).truth)
    batches = [held.batch(step) for step in range(held.steps_per_epoch)]
    shown, taught = (
        sum(float(getattr(each, part).sum()) for each in batches) for part in ("counts", "truth")
    )
    assert taught == pytest.approx(shown, rel=0.05)


def test_of_a_long_movie_runs_of_neighbours_are_taken_from_all_of_it() -> None:
    frames = chosen_frames(5000, 240)
    assert len(frames) == 240
    assert frames[0] == 0
    assert frames[-1] == 4999
    assert frames[:RUN_FRAMES] == list(range(RUN_FRAMES))
    assert chosen_frames(20, 240) == list(range(20))


def test_stored_movies_that_changed_are_refused(movie: Path, tmp_path: Path) -> None:
    folder = store_movies([movie], tmp_path / "stored", seed=0).folder
    (folder / "000-deciding.npy").write_bytes(b"something else")
    with pytest.raises(CannotAdapt, match=r"000-deciding\.npy changed"):
        read_stored(folder)
