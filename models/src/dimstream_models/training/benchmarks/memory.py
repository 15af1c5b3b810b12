"""Memory of training, measured in separate processes: with the loader, and with one batch.

Run as a module, this is such a process: `python -m … FOLDER loader|held QUICK`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch

from dimstream_models.training.benchmarks.loading import open_source
from dimstream_models.training.benchmarks.plan import Plan, make_plan, recipe_of
from dimstream_models.training.fitting.batches import Batch, batches
from dimstream_models.training.fitting.learner import Learner
from dimstream_models.training.pairs.prepared import Prepared, read_prepared

STATUS: Final = Path("/proc/self/status")


@dataclass(frozen=True)
class Memory:
    """Resident memory of one process, MiB."""

    imported: float  # after the imports, including torch
    peak: float


@dataclass(frozen=True)
class MemoryFigures:
    """Memory of training processes.

    Parameters
    ----------
    patches, stored_mib : int, float
        Number and size of the patches on disk.
    from_loader, held : Memory
        With steps on a whole epoch from the loader, and with the same steps on one batch.
    """

    patches: int
    stored_mib: float
    from_loader: Memory
    held: Memory

    @property
    def added_mib(self) -> float:
        """Peak memory with the loader minus that of the same steps without; slightly below 0 if there is no
        difference."""
        return self.from_loader.peak - self.held.peak


def measure_memory(prepared: Prepared, plan: Plan, *, quick: bool) -> MemoryFigures | None:
    """Return the memory of two processes that train on the prepared fields; None without `/proc`."""
    if not STATUS.exists():
        return None
    files = [prepared.folder / field.file for field in prepared.fields]
    return MemoryFigures(
        patches=len(open_source(recipe_of(plan.memory, prepared.folder), prepared).cutter.places),
        stored_mib=sum(file.stat().st_size for file in files) / 2**20,
        from_loader=_in_own_process(prepared.folder, "loader", quick=quick),
        held=_in_own_process(prepared.folder, "held", quick=quick),
    )


def _in_own_process(folder: Path, what: str, *, quick: bool) -> Memory:
    command = [sys.executable, "-m", __name__, str(folder), what, *(["quick"] if quick else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Memory(**json.loads(done.stdout))


def main(folder: Path, what: str, *, quick: bool) -> None:
    """Train for some steps, load the rest of an epoch, and print the memory."""
    imported = _resident("VmRSS")
    plan, device = make_plan(gpu=False, quick=quick), torch.device("cpu")
    recipe = recipe_of(plan.memory, folder)
    learner = Learner(recipe, device=device)
    upcoming = _loaded(plan, folder) if what == "loader" else _held(plan)
    for step, batch in enumerate(upcoming):
        if step < plan.memory_steps:
            learner.step(batch, step, 1e-4)
    print(json.dumps(asdict(Memory(imported, _resident("VmHWM")))))


def _loaded(plan: Plan, folder: Path) -> Iterator[Batch]:
    source = open_source(recipe_of(plan.memory, folder), read_prepared(folder))
    with closing(batches(source, 0, source.steps_per_epoch, device=torch.device("cpu"))) as upcoming:
        yield from upcoming


def _held(plan: Plan) -> Iterator[Batch]:
    counts = torch.ones(plan.memory.batch, 1, plan.memory.patch_px, plan.memory.patch_px)
    held = Batch(counts, 70 * counts)
    yield from (held for _ in range(plan.memory_steps))


def _resident(key: str) -> float:
    """Return an entry of the process's status, MiB."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return float(int(lines[key].split()[0]) / 1024)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], quick="quick" in sys.argv[3:])
