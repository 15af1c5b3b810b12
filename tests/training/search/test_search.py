"""A whole search on real networks and real files: complete, killed, failing, refused."""

import csv
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from training.forked_training import start_training

from dimstream_models.training.cli import main
from dimstream_models.training.errors import InvalidPrepared, InvalidRecipe, SearchError
from dimstream_models.training.fitting.trainer import load_best, read_history
from dimstream_models.training.metrics.decorrelation import decorrelation
from dimstream_models.training.metrics.pixelwise import mae, ssim
from dimstream_models.training.pairs.prepared import read_prepared
from dimstream_models.training.search.protocol import search
from dimstream_models.training.search.results import Results
from dimstream_models.training.search.study import read_trials
from dimstream_models.training.search.trial import read_searched, run_trial
from dimstream_models.training.settings import Recipe, read_recipe, write_recipe

pytestmark = pytest.mark.slow

Finished = tuple[Path, Results, list[str]]
OUTPUTS = (
    "trials.csv",
    "best.csv",
    "knobs.png",
    "losses.png",
    "predictions.png",
    "report.html",
    "recipe.yaml",
)


@pytest.fixture(scope="module")
def finished(
    tiny_search: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Results, list[str]]:
    """An undisturbed search: its folder, its results, the lines that it told."""
    folder, lines = tmp_path_factory.mktemp("search") / "study", list[str]()
    return folder, search(tiny_search, folder, tell=lines.append), lines


def _changed(recipe: Recipe, space: dict[str, object] | None = None, **changes: object) -> Recipe:
    settings = recipe.model_dump()
    settings["search"] |= changes
    settings["search"]["space"] |= space or {}
    return Recipe.model_validate(settings)


def _rows(path: Path) -> Sequence[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_search_screens_briefly_and_trains_the_best_to_their_end(
    finished: Finished, tiny_search: Recipe
) -> None:
    _, results, lines = finished
    assert [len(results.screened), len(results.retrained), len(lines)] == [4, 2, 6]
    assert [len(read_history(run.run)) for run in results.screened] == [2] * 4
    assert [len(read_history(run.run)) for run in results.retrained] == [4] * 2
    totals = [run.total for run in results.screened]
    assert totals == sorted(totals, reverse=True)
    assert {run.trial.name for run in results.retrained} == {run.trial.name for run in results.screened[:2]}
    screening, full = (
        read_recipe(run.run / "recipe.yaml").pairs for run in (results.screened[0], results.retrained[0])
    )
    assert screening is not None
    assert full is not None
    assert (screening.max_patches, full.max_patches) == (12, None)


def test_the_folder_holds_tables_pictures_and_a_report(finished: Finished) -> None:
    folder, results, _ = finished
    assert all((folder / name).stat().st_size > 100 for name in OUTPUTS)
    rows = _rows(folder / "trials.csv")
    assert [int(row["trial"]) for row in rows] == [run.trial.number for run in results.screened]
    assert [float(row["score"]) for row in rows] == [run.total for run in results.screened]
    assert float(rows[0]["resolution_nm"]) == pytest.approx(20 * float(rows[0]["resolution_px"]))
    assert all((folder / row["run"] / "best.pt").is_file() for row in rows)
    assert {row["state"] for row in rows} == {"succeeded"}
    assert {row["clip_value"] for row in rows} == {"none"}
    report = (folder / "report.html").read_text()
    assert report.count("data:image/png;base64,") == 3
    assert results.retrained[0].trial.name in report


def test_the_figures_of_a_trial_are_those_of_its_network_on_the_validation_day(
    finished: Finished, prepared_days: Path
) -> None:
    best = finished[1].screened[0]
    recipe = read_recipe(best.run / "recipe.yaml")
    network, prepared = load_best(recipe, best.run), read_prepared(prepared_days)
    pairs = {role: [prepared.open(f) for f in prepared.of(role)] for role in ("training", "validation")}

    def predict(low: np.ndarray) -> np.ndarray:
        with torch.no_grad():  # sides are multiples of the network's step, 4: nothing is padded
            return network(torch.from_numpy(low / np.float32(recipe.normalisation.value))[None, None])[1][
                0, 0
            ].numpy()

    x = np.concatenate([predict(low).ravel() for low, _ in pairs["training"]]).astype(float)
    y = np.concatenate([high.ravel() for _, high in pairs["training"]]).astype(float)
    gain, offset = np.polyfit(x, y, 1)
    restored = [np.clip(gain * predict(low) + offset, 0, 65535) for low, _ in pairs["validation"]]
    truths = [high for _, high in pairs["validation"]]
    top = float(max(truth.max() for truth in truths))
    assert best.outcome is not None
    figures = best.outcome.figures
    assert figures is not None
    assert figures.ssim == pytest.approx(
        np.mean([ssim(r, t, data_range=top) for r, t in zip(restored, truths, strict=True)]), rel=1e-4
    )
    assert figures.mae == pytest.approx(
        np.mean([mae(r, t) for r, t in zip(restored, truths, strict=True)]), rel=1e-4
    )
    assert figures.resolution_px == pytest.approx(
        np.median([decorrelation(r).resolution_px for r in restored]), rel=0.01
    )


def test_a_finished_search_does_nothing_again_and_more_trials_go_on(
    finished: Finished, tiny_search: Recipe, tmp_path: Path
) -> None:
    folder, results, _ = finished
    shutil.copytree(folder, tmp_path / "study")
    lines: list[str] = []
    again = search(tiny_search, tmp_path / "study", tell=lines.append)
    assert not lines
    assert [run.trial for run in again.screened] == [run.trial for run in results.screened]
    more = search(_changed(tiny_search, trials=5, best=0), tmp_path / "study", tell=lines.append)
    assert len(lines) == 1
    assert {run.trial.name for run in results.screened} < {run.trial.name for run in more.screened}


@pytest.mark.slow
def test_a_search_that_is_stopped_and_killed_ends_as_an_undisturbed_one(
    finished: Finished, tiny_search: Recipe, tmp_path: Path
) -> None:
    write_recipe(tiny_search, tmp_path / "recipe.yaml")
    study = tmp_path / "study"
    command = ["search", str(tmp_path / "recipe.yaml"), "--study", str(study)]

    def interrupt(number: int, when: Callable[[], bool]) -> tuple[int, str]:
        """Run the command and send it a signal in the midst of things; its exit status, and what it said."""
        said = tmp_path / "said"
        said.unlink(missing_ok=True)
        process = start_training(command, out=said)
        deadline = time.monotonic() + 100
        while not when() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(number)
        return process.wait(150), said.read_text()

    def begun(part: str, runs: int) -> Callable[[], bool]:
        return lambda: len(list(study.glob(f"{part}/*/last.pt"))) >= runs

    status, said = interrupt(signal.SIGKILL, begun("trials", 2))
    assert status == -signal.SIGKILL, said
    assert [trial.outcome is None for trial in read_trials(study)].count(True) <= 1
    status, said = interrupt(signal.SIGINT, begun("best", 1))
    assert status == 130, said
    assert "is kept, including unfinished runs: give the same command" in said
    assert main(command) == 0

    undisturbed = finished[1]
    trials = {trial.name: trial for trial in read_trials(study)}
    assert len(trials) == 4
    for run in undisturbed.screened:
        here, there = trials[run.trial.name].outcome, run.outcome
        assert here is not None
        assert there is not None
        assert here.figures == there.figures
    best = _rows(study / "best.csv")
    assert [(row["run"], row["score"]) for row in best] == [
        (f"best/{run.trial.name}", str(run.total)) for run in undisturbed.retrained
    ]


def test_trials_that_diverge_are_recorded_with_their_reason_and_stop_nothing(
    tiny_search: Recipe, tmp_path: Path
) -> None:
    space = {"learning_rate": [0.01, 1e6], "activation": ["leaky_relu"], "patch_px": [32]}
    results = search(_changed(tiny_search, space, sampler="grid", best=1, epochs=1), tmp_path)
    good, bad = results.screened
    assert good.trial.setting["learning_rate"] == 0.01
    assert bad.score is None
    rows = _rows(tmp_path / "trials.csv")
    assert [row["state"] for row in rows] == ["succeeded", "failed"]
    assert "loss" in rows[1]["reason"]
    assert rows[1]["score"] == rows[1]["rank"] == rows[1]["ssim"] == ""
    assert "Why 1 trials failed" in (tmp_path / "report.html").read_text()


def test_a_search_in_which_nothing_succeeds_says_why(tiny_search: Recipe, tmp_path: Path) -> None:
    space = {"learning_rate": [1e6], "activation": ["leaky_relu"], "patch_px": [32]}
    with pytest.raises(SearchError, match="none of 1 trials succeeded: the loss"):
        search(_changed(tiny_search, space, epochs=1), tmp_path)
    assert [row["state"] for row in _rows(tmp_path / "trials.csv")] == ["failed"]


def test_the_test_set_is_never_opened(tiny_search: Recipe, finished: Finished, tmp_path: Path) -> None:
    assert tiny_search.pairs is not None
    assert {field.role for field in read_searched(tiny_search).fields} == {"training", "validation"}
    copy = tmp_path / "prepared"
    shutil.copytree(tiny_search.pairs.prepared, copy)
    for field in read_prepared(copy).of("test"):
        spoilt = np.load(copy / field.file)
        np.save(copy / field.file, spoilt + 1)  # whoever compares it with its hash refuses it
    run = finished[1].screened[0]
    recipe = read_recipe(run.run / "recipe.yaml")
    elsewhere = recipe.model_copy(update={"pairs": recipe.pairs.model_copy(update={"prepared": copy})})
    assert run.outcome is not None
    assert run_trial(elsewhere, tmp_path / "run").figures == run.outcome.figures


def test_bad_data_stop_the_search_and_once_mended_it_goes_on(tiny_search: Recipe, tmp_path: Path) -> None:
    assert tiny_search.pairs is not None
    copy = tmp_path / "prepared"
    shutil.copytree(tiny_search.pairs.prepared, copy)
    recipe = tiny_search.model_copy(update={"pairs": tiny_search.pairs.model_copy(update={"prepared": copy})})
    recipe = _changed(recipe, trials=1, best=0, epochs=1)
    spoilt = copy / read_prepared(copy).of("training")[0].file
    content = spoilt.read_bytes()
    spoilt.write_bytes(content[:-1] + b"\x07")
    with pytest.raises(InvalidPrepared, match="has changed"):
        search(recipe, tmp_path / "study")
    assert [trial.outcome for trial in read_trials(tmp_path / "study")] == [None]
    spoilt.write_bytes(content)
    assert len(search(recipe, tmp_path / "study").screened) == 1


def test_a_space_that_could_never_run_is_refused_before_it_begins(
    tiny_search: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(SearchError, match=r"patch_px 80, but the smallest.*has 72 px"):
        search(_changed(tiny_search, {"patch_px": [32, 80]}), tmp_path)
    deep = _changed(tiny_search, {"patch_px": [32, 40]})
    network = deep.network.model_copy(update={"filters": (2, 2, 2, 2)})
    with pytest.raises(InvalidRecipe, match="divisible by 16"):
        search(deep.model_copy(update={"network": network}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_search_wants_pairs_with_clean_images(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="expected a recipe with pairs"):
        search(tiny_recipe, tmp_path)


def test_the_command_refuses_another_recipe_and_contradictions(
    finished: Finished,
    tiny_search: Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = tmp_path / "recipe.yaml"
    write_recipe(tiny_search.model_copy(update={"seed": 99}), recipe)
    assert main(["search", str(recipe), "--study", str(finished[0])]) == 2
    assert "seed: 3 in the study, 99 now" in capsys.readouterr().err
    assert main(["search", str(recipe), "--study", str(tmp_path / "new"), "--grid", "--tpe"]) == 2
    assert "got both: leave one out" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["search", str(recipe), "--study", str(tmp_path / "new"), "--trials", "0"])


def test_the_command_importance_refuses_so_few_runs(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["importance", str(finished[0]), "--out", str(tmp_path / "out")]) == 2
    assert "at least 10 successful runs, got 4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
