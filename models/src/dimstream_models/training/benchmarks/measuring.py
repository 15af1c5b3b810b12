"""One run of the benchmark, and its figures compared with their goals.

It uses prepared fields of view of Poisson counts, as `prepare` would have stored them, and also times the two
most expensive image metrics.
"""

from __future__ import annotations

import gc
import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dimstream_models.training.benchmarks.analysing import INTERVAL_S, AnalysisFigures, measure_analysis
from dimstream_models.training.benchmarks.arithmetic import ArithmeticFigures, measure_arithmetic
from dimstream_models.training.benchmarks.loading import LoadingFigures, measure_loading
from dimstream_models.training.benchmarks.memory import MemoryFigures, measure_memory
from dimstream_models.training.benchmarks.plan import MIXED, SEED, Plan, Spread, make_plan
from dimstream_models.training.errors import NotAvailable, OutOfMemory
from dimstream_models.training.fitting.batches import AHEAD
from dimstream_models.training.metrics.decorrelation import decorrelation
from dimstream_models.training.metrics.frc import rolling_frc
from dimstream_models.training.pairs.prepared import (
    FIELDS,
    INDEX,
    Prepared,
    PreparedField,
    PreparedIndex,
    PrepareSettings,
    SourceImage,
    read_prepared,
)

MEANS: Final = (1.0, 70.0)  # photons/px at low and high dose, 70 times apart as in the paper
DRAWN: Final = (
    4  # different fields; the others are shifted copies, because drawing all would take longer than measuring
)


def write_fields(folder: Path, number: int, side_px: int) -> Prepared:
    """Return a prepared folder with `number` training fields, each (2, side, side) uint16."""
    rng = np.random.default_rng(SEED)
    drawn = [_draw(rng, side_px) for _ in range(min(DRAWN, number))]
    (folder / FIELDS).mkdir(parents=True)
    fields = tuple(
        _write_field(folder, index, np.roll(drawn[index % len(drawn)], index, axis=(1, 2)))
        for index in range(number)
    )
    index = PreparedIndex(
        settings=PrepareSettings(),
        pixel_size_nm=None,
        roles="all for training",
        matched_by_order=(),
        left_out=(),
        fields=fields,
    )
    (folder / INDEX).write_text(index.model_dump_json())
    return read_prepared(folder)


def _draw(rng: np.random.Generator, side_px: int) -> NDArray[np.uint16]:
    return np.stack([rng.poisson(mean, (side_px, side_px)) for mean in MEANS]).astype(np.uint16)


def _write_field(folder: Path, index: int, planes: NDArray[np.uint16]) -> PreparedField:
    path = folder / FIELDS / f"{index:05d}.npy"
    np.save(path, planes)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    low, high = (float(mean) for mean in planes.mean(axis=(1, 2)))
    return PreparedField(
        name=f"field {index}",
        day="synthetic",
        field_of_view=f"field {index}",
        role="training",
        file=f"{FIELDS}/{path.name}",
        shape=(planes.shape[1], planes.shape[2]),
        has_high=True,
        mean_low=low,
        mean_high=high,
        sha256=sha256,
        sources=(SourceImage(path="synthetic", plane=index, sha256=sha256),),
    )


SKIP_PX: Final = 4


@dataclass(frozen=True)
class FigureTimes:
    """Processor seconds per image, summed over all threads: the time that one core would need."""

    decorrelation_s: Spread
    rolling_frc_s: Spread


def measure_figures_of_merit(plan: Plan) -> FigureTimes:
    """Return the times of a decorrelation analysis, and of an rFRC map without background."""
    rng = np.random.default_rng(SEED)
    first, second = rng.poisson(30.0, (2, plan.side_px, plan.side_px)).astype(np.uint16)
    return FigureTimes(
        Spread.of(_times(lambda: decorrelation(first), plan.figure_repeats)),
        Spread.of(_times(lambda: rolling_frc(first, second, skip=SKIP_PX), plan.figure_repeats)),
    )


def _times(take: Callable[[], object], repeats: int) -> list[float]:
    take()  # calculations that are done only once are not measured
    times = []
    for _ in range(repeats):
        start = time.process_time()
        take()
        times.append(time.process_time() - start)
    return times


MIN_LOADING_RATIO: Final = 0.95
MAX_MEMORY_MIB: Final = 1500.0
MAX_DECORRELATION_S: Final = 0.5
MAX_ROLLING_FRC_S: Final = 3.0
FORMAT_VERSION: Final = 1


@dataclass(frozen=True)
class Machine:
    """The machine of the measurement; other work in the minute before makes figures worse."""

    cpu: str
    cores: int
    threads: int
    device: str
    torch: str
    load_before: float | None


@dataclass(frozen=True)
class Goal:
    """A bound and the measured value; `value` and `met` are None if it was not measured."""

    name: str
    bound: str
    limit: float
    value: float | None
    met: bool | None


@dataclass(frozen=True)
class Results:
    """All results of one run, and why some are missing."""

    created: str
    quick: bool
    machine: Machine
    plan: Plan
    loading: LoadingFigures
    memory: MemoryFigures | None
    figures_of_merit: FigureTimes
    arithmetic: Mapping[str, ArithmeticFigures]
    analysis: AnalysisFigures | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def goals(self) -> list[Goal]:
        """Return the goals, met or not."""
        times, memory = self.figures_of_merit, self.memory
        added = None if memory is None else memory.added_mib
        return [
            _at_least(
                "steps from the loader relative to steps in memory",
                MIN_LOADING_RATIO,
                self.loading.ratio.median,
            ),
            _at_most("additional memory for data, MiB", MAX_MEMORY_MIB, added),
            _at_most("decorrelation analysis, s", MAX_DECORRELATION_S, times.decorrelation_s.median),
            _at_most("rFRC map, s", MAX_ROLLING_FRC_S, times.rolling_frc_s.median),
            _at_most(
                "analysis of a frame of the ER, s",
                INTERVAL_S,
                None if self.analysis is None else self.analysis.analysis_s.median,
            ),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        goals = [asdict(goal) for goal in self.goals()]
        return {"format_version": FORMAT_VERSION, **asdict(self), "goals": goals}


def measure(device: torch.device, *, quick: bool) -> Results:
    """Return the results of one run on a device; its data are simulated and removed afterwards."""
    gpu = device.type == "cuda"
    plan, machine = make_plan(gpu=gpu, quick=quick), describe_machine(device)
    created, left_out = datetime.now(UTC).isoformat(timespec="seconds"), dict[str, str]()
    with tempfile.TemporaryDirectory(prefix="dimstream-bench-") as scratch:
        prepared = write_fields(Path(scratch) / "prepared", plan.fields, plan.side_px)
        steps = 2 * plan.rounds * (plan.lap_steps + AHEAD)
        with tqdm(total=steps, desc="loading", unit="step") as bar:
            loading = measure_loading(prepared, plan, device, bar.update)
        memory = measure_memory(prepared, plan, quick=quick)
    if memory is None:
        left_out["memory"] = "this operating system has no /proc, from which memory is read"
    return Results(
        created=created,
        quick=quick,
        machine=machine,
        plan=plan,
        loading=loading,
        memory=memory,
        figures_of_merit=measure_figures_of_merit(plan),
        arithmetic=_arithmetic(plan, device, left_out),
        analysis=_analysis(plan, left_out),
        left_out=left_out,
    )


def _analysis(plan: Plan, left_out: dict[str, str]) -> AnalysisFigures | None:
    try:
        return measure_analysis(plan.side_px, plan.figure_repeats)
    except NotAvailable as error:
        left_out["analysis"] = str(error)
        return None


def describe_machine(device: torch.device) -> Machine:
    """Return a description of this machine and its present load."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device=gpu or "no GPU",
        torch=torch.__version__,
        load_before=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _arithmetic(plan: Plan, device: torch.device, left_out: dict[str, str]) -> dict[str, ArithmeticFigures]:
    figures: dict[str, ArithmeticFigures] = {}
    if plan.arithmetic is None:
        left_out["arithmetic"] = "no GPU: give --device cuda on a machine with a GPU"
        return figures
    for precision in ("float32", *MIXED):
        try:
            figures[precision] = measure_arithmetic(plan.arithmetic, precision, device)
        except (NotAvailable, OutOfMemory) as error:
            left_out[precision] = str(error)
        gc.collect()
        torch.cuda.empty_cache()
    return figures


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _at_most(name: str, limit: float, value: float | None) -> Goal:
    return Goal(name, "at most", limit, value, None if value is None else value <= limit)


def _at_least(name: str, limit: float, value: float | None) -> Goal:
    return Goal(name, "at least", limit, value, None if value is None else value >= limit)
