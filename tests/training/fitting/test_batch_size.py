"""The largest batch: the search itself, and what a step really takes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dimstream_models.training.errors import NotAvailable, OutOfMemory
from dimstream_models.training.fitting import batch_size
from dimstream_models.training.fitting.learner import Learner
from dimstream_models.training.fitting.trainer import fit, read_record
from dimstream_models.training.settings import Recipe

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.mark.parametrize("limit", [1, 2, 7, 64])
@pytest.mark.parametrize("capacity", [0, 1, 2, 3, 6, 36, 63, 64, 1000])
def test_the_search_finds_the_largest_that_fits_and_tries_few(capacity: int, limit: int) -> None:
    tried = []

    def fits(number: int) -> bool:
        tried.append(number)
        return number <= capacity

    assert batch_size.largest_that_fits(fits, limit) == min(capacity, limit)
    assert len(tried) == len(set(tried)) <= 2 * limit.bit_length()
    assert all(1 <= number <= limit for number in tried)


def with_fit(recipe: Recipe, **settings: object) -> Recipe:
    changed = recipe.model_dump()
    changed["fit"] |= settings
    return Recipe.model_validate({**changed, "fine_tuning": None})


def test_the_memory_that_is_free_bounds_the_batch(
    tiny_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = with_fit(tiny_recipe, patch_px=128, batch="largest", batch_limit=1000)
    free = batch_size.free_memory()
    weights, one = batch_size._memory_of_a_step(recipe)
    for room, expected in ((7.5, 7), (1.0, 1), (5000.0, 1000)):
        monkeypatch.setattr(
            batch_size,
            "free_memory",
            lambda room=room: int((weights + room * one) / batch_size.CPU_SHARE) + 1,
        )
        assert batch_size.find_largest_batch(recipe, CPU) == expected
    monkeypatch.setattr(batch_size, "free_memory", lambda: int(0.5 * one))
    with pytest.raises(OutOfMemory, match="not even one patch of 128 px fits"):
        batch_size.find_largest_batch(recipe, CPU)
    assert free > 1e6


PEAK = """
import sys
from pathlib import Path
import torch
from dimstream_models.training.fitting import batch_size
from dimstream_models.training.fitting.learner import Learner
from dimstream_models.training.settings import read_recipe

torch.set_num_threads(1)
recipe, number = read_recipe(Path(sys.argv[1])), 8
learner = Learner(recipe, device=torch.device("cpu"))
status = Path("/proc/self/status")
def kib(name):
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))
before = kib("VmRSS")
learner.step(batch_size._some_batch(recipe, torch.device("cpu"), number), 0, 1e-3)
print((kib("VmHWM") - before) * 1024 / (number * batch_size._memory_of_a_step(recipe)[1]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak from")
def test_a_real_step_takes_no_more_than_was_reckoned(tiny_recipe: Recipe, tmp_path: Path) -> None:
    from dimstream_models.training.settings import write_recipe

    recipe = tiny_recipe.model_dump()
    recipe["network"] |= {"filters": (8, 16, 32), "filters_cab": 4, "num_cab": 4, "dropout": 0.2}
    recipe["fit"]["patch_px"] = 128
    write_recipe(Recipe.model_validate(recipe), tmp_path / "recipe.yaml")
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "recipe.yaml")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0.4 < float(done.stdout) < 1.0  # the reckoning is safe, and not wasteful


def test_a_resumed_run_keeps_the_batch_that_was_found(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = with_fit(tiny_recipe, batch="largest", batch_limit=3)
    fit(recipe, tmp_path, stop_after=2)
    assert read_record(tmp_path).batch == 3
    monkeypatch.setattr(batch_size, "free_memory", lambda: 0)
    fit(recipe, tmp_path, stop_after=4)
    assert read_record(tmp_path).batch == 3


def test_a_system_that_does_not_tell_is_asked_for_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "MEMINFO", Path("/nowhere/meminfo"))
    with pytest.raises(NotAvailable, match=r"give a number as fit\.batch"):
        batch_size.free_memory()


def test_a_control_groups_bound_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    monkeypatch.setattr(batch_size, "CONTROL_GROUPS", ((tmp_path, "memory.max", "memory.current"),))
    assert batch_size.free_memory() == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert batch_size.free_memory() > 600_000


def test_a_step_that_does_not_fit_says_so(tiny_recipe: Recipe) -> None:
    learner = Learner(tiny_recipe, device=CPU)
    huge = batch_size._some_batch(tiny_recipe, CPU, 1)
    shown = type(huge)(huge.counts.expand(10**12, -1, -1, -1), huge.truth, None)  # a view: takes nothing
    with pytest.raises(OutOfMemory, match="a step of 1000000000000 patches of 32x32 px"):
        learner.step(shown, 0, 1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_is_tried_until_it_is_full(tiny_recipe: Recipe) -> None:
    recipe = with_fit(tiny_recipe, patch_px=512, batch="largest", batch_limit=100_000)
    found = batch_size.find_largest_batch(recipe, torch.device("cuda", 0))
    assert 1 <= found < 100_000
    learner = Learner(recipe, device=torch.device("cuda", 0))
    learner.step(batch_size._some_batch(recipe, torch.device("cuda", 0), found), 0, 1e-3)
