"""The command itself, killed anywhere: gone on with, it gives the weights of an undisturbed run."""

import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from forked import Forked
from training.forked_training import start_training

from dimstream_models.training.cli import main
from dimstream_models.training.fitting.record import read_record
from dimstream_models.training.fitting.trainer import fit, load_best
from dimstream_models.training.settings import Recipe, read_recipe, write_recipe

pytestmark = pytest.mark.slow

KILLS = (signal.SIGKILL, signal.SIGINT, signal.SIGKILL)


@pytest.fixture
def recipe_file(tiny_recipe: Recipe, tmp_path: Path) -> Path:
    """A run that takes some seconds, has dropout, and writes a checkpoint after nearly every step."""
    settings = tiny_recipe.model_dump()
    settings["simulation"] |= {"side_px": 64, "steps_per_epoch": 20}
    settings["network"]["dropout"] = 0.2
    settings["fit"] |= {"epochs": 3, "checkpoint_every_s": 0.02}
    write_recipe(Recipe.model_validate({**settings, "fine_tuning": None}), tmp_path / "recipe.yaml")
    return tmp_path / "recipe.yaml"


def command(recipe: Path, run: Path) -> Forked:
    """Start a fit into `run`; what it says is in `run.log`."""
    return start_training(["fit", str(recipe), "--run", str(run)], out=run.with_suffix(".log"))


def writes(path: Path, process: Forked) -> Iterator[int]:
    """Yield the time of each write of a file that is seen, until the process ends."""
    seen = None
    while process.poll() is None:
        now = path.stat().st_mtime_ns if path.exists() else None
        if now not in (None, seen):
            seen = now
            yield now
        time.sleep(0.0005)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_is_an_undisturbed_one(
    recipe_file: Path, tmp_path: Path
) -> None:
    rng, killed, broken = random.Random(0), tmp_path / "killed", 0
    for number in KILLS:
        process = command(recipe_file, killed)
        for count, _ in enumerate(writes(killed / "last.pt", process)):
            if count >= rng.randrange(2, 6):
                time.sleep(rng.uniform(0, 0.03))
                process.send_signal(number)
                break
        status = process.wait(60)
        broken += status != 0
        if number != signal.SIGKILL and status:
            output = killed.with_suffix(".log").read_text()
            assert status == 130, output
            assert "give the same command to continue" in output
            assert read_record(killed).state == "stopped"
            assert (killed / "loss.png").exists()
    assert broken == len(KILLS)  # none came too late to disturb anything
    recipe = read_recipe(recipe_file)
    fit(recipe, killed)
    rarely = recipe.fit.model_copy(update={"checkpoint_every_s": 1000.0})
    fit(recipe.model_copy(update={"fit": rarely}), tmp_path / "undisturbed")
    weights = [load_best(recipe, run).state_dict() for run in (killed, tmp_path / "undisturbed")]
    last = [torch.load(run / "last.pt", weights_only=True) for run in (killed, tmp_path / "undisturbed")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert all(torch.equal(last[0]["network"][name], last[1]["network"][name]) for name in last[0]["network"])
    assert (killed / "loss.csv").read_text() == (tmp_path / "undisturbed" / "loss.csv").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to see processes in")
def test_a_kill_while_scenes_are_drawn_leaves_no_process_behind(recipe_file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file).model_dump(mode="json")
    recipe["simulation"] |= {"fields": 20_000, "side_px": 128}
    recipe_file.write_text(json.dumps(recipe))
    process = command(recipe_file, tmp_path / "run")
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers: list[int] = []
    while not workers:
        assert process.poll() is None
        workers = [int(pid) for pid in tasks.read_text().split() if b"spawn_main" in cmdline(int(pid))]
        time.sleep(0.05)
    process.kill()
    process.wait(60)
    while any(b"spawn_main" in cmdline(pid) for pid in workers):
        time.sleep(0.05)  # the test's own time limit is the bound


def cmdline(pid: int) -> bytes:
    """The command of a process, nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_the_command_says_that_a_run_is_finished_or_failed(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = read_recipe(recipe_file).model_dump(mode="json")
    recipe["fit"] |= {"epochs": 1}
    recipe_file.write_text(json.dumps(recipe))  # JSON is YAML
    arguments = ["fit", str(recipe_file), "--run", str(tmp_path / "run")]
    assert main(arguments) == main(arguments) == 0
    assert "is finished: its best network is in best.pt" in capsys.readouterr().out
    recipe["fit"] |= {"loss_limit": 1e-6}
    recipe_file.write_text(json.dumps(recipe))
    assert main([*arguments[:-1], str(tmp_path / "failed")]) == 2
    assert "above the limit of 1e-06: lower the learning rate" in capsys.readouterr().err
    assert main([*arguments, "--split-photons"]) == 2
    assert "splitting photons needs pairs" in capsys.readouterr().err
    assert main([*arguments, "--device", "cuda:99"]) == 2
    assert "expected the device cuda:99" in capsys.readouterr().err
    assert main(["fit", str(tmp_path / "none.yaml"), "--run", str(tmp_path / "run")]) == 2
    assert "expected a recipe" in capsys.readouterr().err
