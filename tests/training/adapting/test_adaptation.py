"""A bundle is adapted to a movie, or refused; a run that was stopped goes on to the same network."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dimstream_models.bundle import open_draft, read_bundle, write_bundle
from dimstream_models.training.adapting import adaptation
from dimstream_models.training.adapting.adaptation import FEWEST_STEPS, Wanted, adapt
from dimstream_models.training.cli import main
from dimstream_models.training.errors import CannotAdapt
from dimstream_models.training.settings import read_recipe

pytestmark = pytest.mark.slow

STEPS, RATE = 150, 0.01


@pytest.fixture(scope="module")
def adapted(tiny_bundle: Path, movie: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle, adapted in a run that was stopped twice."""
    out = tmp_path_factory.mktemp("adapted") / "Cell 1"
    for stop in (4, 70):
        with pytest.raises(KeyboardInterrupt):
            adapt(tiny_bundle, [movie], out, Wanted(steps=STEPS, learning_rate=RATE, stop_after=stop))
    made = adapt(tiny_bundle, [movie], out, Wanted())
    assert made.steps == STEPS  # a run that goes on keeps the settings that it began with
    return out


def test_an_adapted_bundle_says_to_what_it_was_adapted_and_by_how_much(
    adapted: Path, tiny_bundle: Path
) -> None:
    bundle, start = read_bundle(adapted), read_bundle(tiny_bundle)
    assert bundle.id == "cell-1"
    assert bundle.sha256 != start.sha256
    assert bundle.config is not None
    assert bundle.config.quality["adapted_next_frame_gain_db"] > 0
    assert bundle.config.quality["adapted_next_frame_z"] < -2
    made = bundle.config.provenance
    assert made is not None
    assert made.data["start tiny"] == start.sha256
    assert "cell 1.tif" in made.data
    section = bundle.documentation.split("## Adapted")[1].split("\n## ")[0]
    assert "tiny" in section
    assert "cell 1.tif" in section
    assert "for this sample" in section


def test_flags_are_calibrated_again_and_counts_mean_the_same(adapted: Path, tiny_bundle: Path) -> None:
    bundle, start = read_bundle(adapted), read_bundle(tiny_bundle)
    assert start.thresholds.ssim is None
    assert bundle.thresholds.ssim is not None
    assert bundle.config is not None
    assert bundle.config.calibration is not None
    assert "cell 1.tif" in bundle.config.calibration.note
    assert (bundle.gain, bundle.offset) == (start.gain, 0.0)


def test_the_work_folder_is_gone(adapted: Path) -> None:
    assert [path.name for path in adapted.parent.iterdir()] == [adapted.name]


def test_what_is_no_better_is_refused_with_an_exit_code_of_its_own(
    adapted: Path,
    movie: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adaptation, "Wanted", partial(Wanted, learning_rate=1e-9))  # nothing is learned
    assert main(["adapt", str(adapted), str(movie), "--out", str(tmp_path / "again"), "--steps", "10"]) == 3
    message = capsys.readouterr().err
    assert "the adapted network is refused" in message
    assert "by the next frame: " in message
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_another_movie_is_not_gone_on_with(tiny_bundle: Path, movie: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tif"
    other.write_bytes(movie.read_bytes())
    with pytest.raises(KeyboardInterrupt):
        adapt(tiny_bundle, [movie], tmp_path / "new", Wanted(steps=20, stop_after=1))
    with pytest.raises(CannotAdapt, match="holds a run of other movies"):
        adapt(tiny_bundle, [other], tmp_path / "new", Wanted(steps=20))


def test_a_bundle_without_the_record_of_its_training_is_refused(
    tiny_bundle: Path, movie: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_draft(tiny_bundle) as draft:
        config = draft.config.model_copy(update={"provenance": None})
        write_bundle(tmp_path / "unknown", replace(draft, config=config))
    assert main(["adapt", str(tmp_path / "unknown"), str(movie), "--out", str(tmp_path / "new")]) == 2
    assert "expected a bundle with the record of its training" in capsys.readouterr().err
    assert not (tmp_path / "new.run").exists()


def test_files_of_others_in_the_place_of_the_run_are_kept(
    tiny_bundle: Path, movie: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new.run" / "movies").mkdir(parents=True)
    (tmp_path / "new.run" / "movies" / "mine.tif").touch()
    assert main(["adapt", str(tiny_bundle), str(movie), "--out", str(tmp_path / "new")]) == 2
    assert "got one with mine.tif" in capsys.readouterr().err
    assert (tmp_path / "new.run" / "movies" / "mine.tif").exists()


def test_minutes_become_steps_but_never_fewer_than_help(
    tiny_bundle: Path, movie: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        adapt(tiny_bundle, [movie], tmp_path / "new", Wanted(minutes=1e-6, stop_after=1))
    recipe = read_recipe(tmp_path / "new.run" / "fit" / "recipe.yaml")
    assert recipe.movies is not None
    assert recipe.fit.epochs * recipe.movies.steps_per_epoch == FEWEST_STEPS


@pytest.mark.parametrize("minutes", ["0", "nan", "soon"])
def test_minutes_must_be_a_time(minutes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["adapt", "bundle", "movie", "--out", str(tmp_path / "new"), "--minutes", minutes])
    assert "--minutes" in capsys.readouterr().err


def test_the_gate_rests_after_each_frame_where_it_is_to_give_way() -> None:
    frames: list[int] = []
    denoise = adaptation._resting(lambda counts: counts, lambda: frames.append(1))
    assert [denoise(np.ones((1, 1), np.float32)).shape for _ in range(2)] == [(1, 1)] * 2
    assert len(frames) == 2
