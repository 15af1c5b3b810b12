"""The benchmark of training runs and reckons rightly; how fast anything is, no test says."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dimstream_models.training.benchmarks.arithmetic import measure_arithmetic
from dimstream_models.training.benchmarks.loading import LoadingFigures
from dimstream_models.training.benchmarks.measuring import (
    FigureTimes,
    Results,
    describe_machine,
    write_fields,
)
from dimstream_models.training.benchmarks.memory import Memory, MemoryFigures
from dimstream_models.training.benchmarks.plan import Spread, Steps, make_plan
from dimstream_models.training.benchmarks.report import as_markdown
from dimstream_models.training.cli import main
from dimstream_models.training.network import build_network
from dimstream_models.training.settings import NetworkSettings

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TINY = Steps(NetworkSettings(filters=(2, 3), filters_cab=2, num_rg=1, num_cab=1), 32, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quick run of the command leaves."""
    out = tmp_path_factory.mktemp("bench") / "training"
    assert main(["bench", "--out", str(out), "--quick"]) == 0
    return out


def test_a_run_writes_its_figures(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert results["quick"] is True
    assert results["loading"]["ratio"]["n"] == results["plan"]["rounds"] == 2
    assert results["loading"]["ratio"]["median"] > 0
    assert 0 <= results["loading"]["waited_share"]["median"] < 1
    assert results["figures_of_merit"]["rolling_frc_s"]["median"] > 0
    assert results["analysis"]["ratio"]["median"] > 0
    assert [goal["limit"] for goal in results["goals"]] == [0.95, 1500, 0.5, 3, 4.6]


def test_memory_is_read_in_processes_of_their_own(folder: Path) -> None:
    memory = json.loads((folder / "results.json").read_text())["memory"]
    assert memory["patches"] == 3 * 9  # of 32 px in fields of 96 px
    assert memory["stored_mib"] == pytest.approx(3 * 2 * 96 * 96 * 2 / 2**20, rel=0.01)  # and their heads
    for process in (memory["from_loader"], memory["held"]):
        assert 50 < process["imported"] < process["peak"]  # torch alone takes that


def test_what_was_left_out_says_why(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert results["arithmetic"] == {}
    assert "no GPU" in results["left_out"]["arithmetic"]
    table = (folder / "results.md").read_text()
    assert "Left out: arithmetic (no GPU" in table
    assert "its figures have no meaning" in table


def test_goals_are_met_at_their_bounds_and_not_beyond() -> None:
    assert [goal.met for goal in some_results(0.95, 1500, 0.5, 3.0).goals()] == [True] * 4 + [None]
    assert [goal.met for goal in some_results(0.94, 1501, 0.51, 3.1).goals()] == [False] * 4 + [None]


def test_a_goal_that_was_not_measured_is_neither_met_nor_missed() -> None:
    results = dataclasses.replace(some_results(1, 0, 0, 0), memory=None)
    assert [goal.met for goal in results.goals()] == [True, None, True, True, None]
    assert "| left out |" in as_markdown(results)


def test_the_table_tells_goals_that_are_missed() -> None:
    table = as_markdown(some_results(0.5, 100, 0.1, 1))
    assert (
        "| steps from the loader relative to steps in memory | at least 0.95 | 0.5 | **not met** |" in table
    )


def test_a_spread_is_median_and_quartiles() -> None:
    assert Spread.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(median=3, low=2, high=4, n=5)


def test_fields_are_prepared_pairs_at_the_papers_doses(tmp_path: Path) -> None:
    prepared = write_fields(tmp_path / "prepared", 6, 64)
    prepared.check(prepared.fields)
    assert prepared.dose_ratio() == pytest.approx(70, rel=0.05)
    assert len({field.sha256 for field in prepared.fields}) == 6
    low, high = prepared.open(prepared.fields[5])
    assert high is not None
    assert low.shape == high.shape == (64, 64)


def test_the_full_plan_stores_the_papers_number_of_patches() -> None:
    plan = make_plan(gpu=False, quick=False)
    per_side = -(-plan.side_px // plan.memory.patch_px)
    assert plan.memory.patch_px == 304
    assert plan.fields * per_side**2 == 1764


def test_the_arithmetic_of_a_step_is_counted() -> None:
    forward, on_counts = forward_flop(TINY)
    edges = 2 * 9 * TINY.batch * (TINY.patch_px - 2) ** 2  # of one output's error, in the loss
    figures = measure_arithmetic(TINY, "float32", CPU, matrix_side=64)
    # backward: as much for the weights and as much for the inputs, of which the counts want none
    expected = 3 * forward - on_counts + 2 * 2 * edges
    assert figures.tflop_per_step * 1e12 == pytest.approx(expected, rel=1e-9)
    assert figures.tflop_per_s.median == pytest.approx(
        figures.tflop_per_step * figures.steps_per_s.median, rel=1e-9
    )


def test_measuring_leaves_torchs_settings_as_they_were() -> None:
    before = torch.get_float32_matmul_precision()
    measure_arithmetic(TINY, "float32", CPU, matrix_side=64)
    assert torch.get_float32_matmul_precision() == before


def forward_flop(steps: Steps) -> tuple[int, int]:
    """Return the operations of all convolutions, and of those on the counts alone, from shapes."""
    found: list[tuple[int, bool]] = []

    def count(module: nn.Conv2d, inputs: tuple[Tensor], output: Tensor) -> None:
        height, width = module.kernel_size
        multiplications = output.numel() * module.in_channels * height * width
        found.append((2 * multiplications, module in shown_counts))

    network = build_network(steps.network)
    first = network.unet.encoder[0]
    shown_counts = (first.conv1, first.shortcut)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network(torch.zeros(steps.batch, 1, steps.patch_px, steps.patch_px))
    return sum(flop for flop, _ in found), sum(flop for flop, on_counts in found if on_counts)


def some_results(ratio: float, added_mib: float, decorrelation_s: float, rolling_frc_s: float) -> Results:
    def of(value: float) -> Spread:
        return Spread(value, value, value, 1)

    return Results(
        created="2026-01-01T00:00:00+00:00",
        quick=False,
        machine=describe_machine(CPU),
        plan=make_plan(gpu=False, quick=True),
        loading=LoadingFigures(of(1), of(1), of(ratio), of(0)),
        memory=MemoryFigures(1764, 600, Memory(200, 300 + added_mib), Memory(200, 300)),
        figures_of_merit=FigureTimes(of(decorrelation_s), of(rolling_frc_s)),
        arithmetic={},
    )
