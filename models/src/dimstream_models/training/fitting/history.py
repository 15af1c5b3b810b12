"""The loss curve of a run: `loss.csv` and `loss.png`, also of a run that failed or was stopped."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from matplotlib.figure import Figure

from dimstream_models.training.errors import CheckpointMismatch
from dimstream_models.training.fitting.checkpoints import write_whole

CURVE = "loss.csv"
PICTURE = "loss.png"


@dataclass(frozen=True)
class Epoch:
    """One row of the curve; a last row that is no whole epoch has a validation loss of nan."""

    step: int  # taken until its end
    training_loss: float  # mean error over its steps, without the penalty on kernels
    validation_loss: float
    learning_rate: float  # of the step that comes next


def write_history(rows: Sequence[Epoch], run: Path) -> None:
    """Write the curve into the run's folder, as a table and as a picture."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_whole(run / CURVE, text.getvalue().encode())
    write_whole(run / PICTURE, _draw(rows))


def read_history(run: Path) -> tuple[Epoch, ...]:
    """Return the rows of a run's `loss.csv`.

    Raises
    ------
    CheckpointMismatch
        When the folder has none that a fit wrote.
    """
    try:
        with (run / CURVE).open(newline="") as file:
            return tuple(
                Epoch(int(step), *map(float, losses)) for step, *losses in list(csv.reader(file))[1:]
            )
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointMismatch(
            f"expected the loss curve of a run at {run / CURVE}, got: {error}"
        ) from error


def _draw(rows: Sequence[Epoch]) -> bytes:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    drawn: list[float] = []
    for name in ("training", "validation"):
        points = [(row.step, getattr(row, f"{name}_loss")) for row in rows]
        finite = [(step, loss) for step, loss in points if math.isfinite(loss)]
        axes.plot(*(zip(*finite, strict=True) if finite else ([], [])), marker=".", label=name)
        drawn += [loss for _, loss in finite]
    if any(loss > 0 for loss in drawn):
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
