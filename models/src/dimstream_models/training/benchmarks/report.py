"""The results as a JSON file for comparison, and as short Markdown tables for reading."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from dimstream_models.training.benchmarks.measuring import Goal, Results
from dimstream_models.training.benchmarks.plan import Spread
from dimstream_models.training.settings import NetworkSettings

RESULTS: Final = "results.json"
TABLE: Final = "results.md"
BUSY: Final = 0.5  # processes that needed a core in the minute before


def write_results(results: Results, folder: Path) -> None:
    """Write `results.json` and `results.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results.as_dict(), indent=2, allow_nan=False, default=NetworkSettings.model_dump) + "\n"
    (folder / RESULTS).write_text(text, encoding="utf-8")
    (folder / TABLE).write_text(as_markdown(results), encoding="utf-8")


def as_markdown(results: Results) -> str:
    """Return the results as Markdown tables."""
    machine = results.machine
    parts = [
        f"{machine.cpu}, {machine.cores} cores, {machine.threads} threads, {machine.device},"
        f" torch {machine.torch}",
        _table(("goal", "bound", "measured", ""), [_goal_row(goal) for goal in results.goals()]),
        _table(("measured", "median", "quartiles"), list(_rows(results))),
        *(f"Left out: {name} ({reason})." for name, reason in results.left_out.items()),
    ]
    if results.quick:
        parts.append("`--quick` only checks that the benchmark runs; its figures have no meaning.")
    elif machine.load_before is not None and machine.load_before > BUSY:
        parts.append(
            f"The machine was busy before (load {machine.load_before:.1f}): only ratios are meaningful."
        )
    return "\n\n".join(parts) + "\n"


def _rows(results: Results) -> Iterator[tuple[str, ...]]:
    loading, times, memory = results.loading, results.figures_of_merit, results.memory
    yield _spread_row("steps/s from the loader", loading.loaded_steps_per_s)
    yield _spread_row("steps/s on one batch in memory", loading.held_steps_per_s)
    yield _spread_row("ratio within a round", loading.ratio)
    yield _spread_row("share of time that steps wait for the loader", loading.waited_share)
    if memory is not None:
        yield (
            f"memory after the imports, MiB ({memory.patches} patches stored)",
            f"{memory.from_loader.imported:.0f}",
            "",
        )
        yield "peak memory, from the loader, MiB", f"{memory.from_loader.peak:.0f}", ""
        yield "peak memory, on one batch, MiB", f"{memory.held.peak:.0f}", ""
    yield _spread_row("decorrelation analysis, s", times.decorrelation_s)
    yield _spread_row("rFRC map, s", times.rolling_frc_s)
    if results.analysis is not None:
        analysis = results.analysis
        yield _spread_row("frames/s denoised, all threads", analysis.denoised_per_s)
        yield _spread_row("frames/s analysed, one process", analysis.analysed_per_s)
        yield _spread_row("time of the analysis, relative to denoising", analysis.ratio)
        yield _spread_row("analysis of a frame, processor seconds", analysis.analysis_processor_s)
    for precision, figures in results.arithmetic.items():
        yield _spread_row(f"{precision}: steps/s of the paper's largest setting", figures.steps_per_s)
        yield _spread_row(f"{precision}: share of the matrix peak", figures.share_of_peak)
        yield _spread_row(f"{precision}: matrix peak, Tflop/s", figures.peak_tflop_per_s)


def _goal_row(goal: Goal) -> tuple[str, ...]:
    value = "left out" if goal.value is None else f"{goal.value:.3g}"
    verdict = {True: "met", False: "**not met**", None: ""}[goal.met]
    return goal.name, f"{goal.bound} {goal.limit:g}", value, verdict


def _spread_row(name: str, spread: Spread) -> tuple[str, ...]:
    return name, f"{spread.median:.3g}", f"{spread.low:.3g} to {spread.high:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
