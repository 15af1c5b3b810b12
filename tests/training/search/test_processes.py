"""Several processes on one study, killed without warning: every trial is made, and counted once."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dimstream_models.training.errors import SearchError
from dimstream_models.training.search.study import read_trials
from dimstream_models.training.settings import Recipe

pytestmark = pytest.mark.slow

TRIALS = 24
Start = Callable[[], "subprocess.Popen[str]"]
WORKER = """
import sys, time
from pathlib import Path
from dimstream_models.training.search.outcomes import Figures, Outcome
from dimstream_models.training.search.screening import Screening
from dimstream_models.training.search.study import Study
from dimstream_models.training.search.workers import ThisProcess, do_all
from dimstream_models.training.settings import Recipe

def run_trial(recipe, run):
    run.mkdir(parents=True, exist_ok=True)
    with (run / "begun").open("a") as file:
        file.write("x")
    time.sleep(0.05)
    return Outcome(figures=Figures(ssim=1, mae=1, resolution_px=1), reason=None, seconds=0.05)

folder = Path(sys.argv[1])
recipe = Recipe.model_validate_json((folder / "recipe.json").read_text())
with Study(folder, recipe, "data") as study:
    do_all(Screening(study, print), ThisProcess(run_trial))
"""


@pytest.fixture
def folder(tmp_path: Path, searched_recipe: Recipe) -> Path:
    space = searched_recipe.search.space.model_copy(
        update={
            "learning_rate": (1e-4,),
            "patch_px": (128,),
            "l2_weight": (0.0, 0.01),
            "clip_value": (0.1, None),
        }
    )
    search = searched_recipe.search.model_copy(update={"sampler": "grid", "space": space})
    recipe = searched_recipe.model_copy(update={"search": search})
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts a process on the folder's study; all are gone at the end."""
    started: list[subprocess.Popen[str]] = []

    def one() -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", WORKER, str(folder)]
        started.append(subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.communicate()


def _wait_for_trials(folder: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(SearchError):  # the process may not have begun its study yet
            if len(read_trials(folder)) >= number:
                return
        time.sleep(0.01)
    pytest.fail(f"no {number} trials in a minute")


def _begun(folder: Path) -> Counter[str]:
    return Counter({path.parent.name: path.stat().st_size for path in folder.glob("trials/*/begun")})


def test_processes_share_a_grid_without_doing_anything_twice(folder: Path, start: Start) -> None:
    processes = [start(), start()]
    answers = [process.communicate(timeout=150) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    trials = read_trials(folder)
    assert len({trial.name for trial in trials}) == len(trials) == TRIALS
    assert all(trial.outcome for trial in trials)
    assert set(_begun(folder).values()) == {1}
    assert sum(out.count("trial ") for out, _ in answers) == TRIALS


def test_the_work_of_a_killed_process_is_taken_over_by_the_living(folder: Path, start: Start) -> None:
    kills, living = 2, start()
    for kill in range(1, kills + 1):
        victim = start()
        _wait_for_trials(folder, 8 * kill)
        victim.kill()  # SIGKILL: no clean-up of any kind
    _, errors = living.communicate(timeout=150)
    assert living.returncode == 0, errors
    trials = read_trials(folder)
    assert len({trial.name for trial in trials}) == len(trials) == TRIALS
    assert all(trial.outcome for trial in trials)
    begun = _begun(folder)
    assert len(begun) == TRIALS
    assert begun.total() <= TRIALS + kills
