"""The loss curve of a run: `loss.csv` and `loss.png`, also after a failure or a stop.

The loss curve for TensorBoard: an optional log, written only on request.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from matplotlib.figure import Figure

from dimstream_models.training.errors import CheckpointMismatch, NotAvailable
from dimstream_models.whole_files import write_whole

CURVE = "loss.csv"
PICTURE = "loss.png"


@dataclass(frozen=True)
class Epoch:
    """One row of the curve; if the last row is an incomplete epoch, its validation loss is nan."""

    step: int  # steps until its end
    training_loss: float  # mean error over its steps, without the kernel penalty
    validation_loss: float
    learning_rate: float  # of the next step


def write_history(rows: Sequence[Epoch], run: Path, *, draw: bool = True) -> None:
    """Write the curve into the run's folder, as a table and, if `draw`, as a picture."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_whole(run / CURVE, text.getvalue().encode())
    if draw:
        write_whole(run / PICTURE, _draw(rows))


def read_history(run: Path) -> tuple[Epoch, ...]:
    """Return the rows of a run's `loss.csv`.

    Raises
    ------
    CheckpointMismatch
        When the folder has no loss curve of a fit.
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


@contextmanager
def tensorboard(run: Path, *, wanted: bool) -> Iterator[Callable[[Epoch], None]]:
    """Yield a function that writes each epoch's row to TensorBoard's log in the run's folder, or does
    nothing.

    Raises
    ------
    NotAvailable
        When TensorBoard is wanted and not installed.
    """
    if not wanted:
        yield lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise NotAvailable(
            "--tensorboard needs TensorBoard: pip install 'dimstream-models[tensorboard]'"
        ) from error
    writer = SummaryWriter(str(run / "tensorboard"))

    def add(row: Epoch) -> None:
        for name in ("training_loss", "validation_loss", "learning_rate"):
            writer.add_scalar(name, getattr(row, name), row.step)
        writer.flush()

    try:
        yield add
    finally:
        writer.close()
