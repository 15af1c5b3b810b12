"""What a process holds, sampled over time, and whether any of it grows."""

from __future__ import annotations

import csv
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Sample = dict[str, float]

_KIB_PER_MIB = 1024
_FEWEST = 10
WARM_UP = 0.2
"""Share of the samples that are left out at the beginning."""
MOST_GROWTH = 0.01
# One frame more in a queue; a file descriptor that HTTP has not closed yet; SQLite's write-ahead file, which
# is used again from its beginning once it has 4 MiB.
_SLACK = {"queue": 1.0, "backlog": 1.0, "files": 1.0, "journal": 4.5 * 1024}


def sample_process(pid: int, name: str) -> Sample:
    """Resident memory (MiB), open files and threads of a process, as ``NAME_memory_mib`` and so on.

    Raises
    ------
    OSError
        It is gone.
    """
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {line.partition(":")[0]: line.split()[1] for line in status if len(line.split()) > 1}
    if "VmRSS" not in fields:
        raise ProcessLookupError(f"process {pid} has ended")
    return {
        f"{name}_memory_mib": int(fields["VmRSS"]) / _KIB_PER_MIB,
        f"{name}_files": len(os.listdir(f"/proc/{pid}/fd")),
        f"{name}_threads": int(fields["Threads"]),
    }


@dataclass(frozen=True)
class Growth:
    """How one column changes after the warm-up.

    Parameters
    ----------
    before, after : float
        Medians of the first and of the last third of what is left.
    """

    column: str
    before: float
    after: float
    largest: float

    @property
    def share(self) -> float:
        """By which it grew; what was nothing has grown by as much as it is now."""
        return (self.after - self.before) / max(self.before, 1.0)

    @property
    def is_well(self) -> bool:
        """Whether it grew by less than `MOST_GROWTH`, or within what its kind may have more for a while."""
        slack = next((most for kind, most in _SLACK.items() if kind in self.column), 0.0)
        return self.after - self.before <= slack or self.share < MOST_GROWTH

    def __str__(self) -> str:
        verdict = "" if self.is_well else "   GROWS"
        numbers = f"{self.before:10.1f} {self.after:10.1f} {self.largest:10.1f} {100 * self.share:8.2f} %"
        return f"{self.column:22} {numbers}{verdict}"


def growths(samples: Sequence[Sample], columns: Sequence[str]) -> list[Growth]:
    """How each column grows, over samples that were taken at even distances of time."""
    kept = samples[int(len(samples) * WARM_UP) :]
    third = len(kept) // 3
    if len(samples) < _FEWEST:
        raise ValueError(f"expected at least {_FEWEST} samples to tell growth by, got {len(samples)}")
    return [
        Growth(
            column,
            statistics.median(sample[column] for sample in kept[:third]),
            statistics.median(sample[column] for sample in kept[-third:]),
            max(sample[column] for sample in kept),
        )
        for column in columns
    ]


def write_csv(path: Path, samples: Sequence[Sample]) -> None:
    """Write one line a sample."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(samples[0]))
        writer.writeheader()
        writer.writerows({name: f"{value:g}" for name, value in sample.items()} for sample in samples)


def draw(path: Path, samples: Sequence[Sample], columns: Sequence[str], *, title: str) -> None:
    """Draw one small graph a column over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = (len(columns) + 2) // 3
    figure = Figure(figsize=(12, 2.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    minutes = [sample["t_s"] / 60 for sample in samples]
    for axes, column in zip(figure.subplots(rows, 3, squeeze=False).flat, columns, strict=False):
        axes.plot(minutes, [sample[column] for sample in samples], linewidth=0.8)
        axes.axvspan(0, minutes[int(len(minutes) * WARM_UP)], color="0.93")
        axes.set_ylim(bottom=0)
        axes.set_title(column.replace("_", " "), fontsize=9)
        axes.set_xlabel("minutes", fontsize=8)
    figure.savefig(path, dpi=100)
