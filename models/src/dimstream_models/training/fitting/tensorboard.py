"""The loss curve for TensorBoard: an extra, written only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dimstream_models.training.errors import NotAvailable
from dimstream_models.training.fitting.history import Epoch


@contextmanager
def tensorboard(run: Path, *, wanted: bool) -> Iterator[Callable[[Epoch], None]]:
    """Yield what takes each epoch's row: TensorBoard's log in the run's folder, or nothing.

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
        raise NotAvailable("--tensorboard wants: pip install 'dimstream-models[tensorboard]'") from error
    writer = SummaryWriter(str(run / "tensorboard"))

    def add(row: Epoch) -> None:
        for name in ("training_loss", "validation_loss", "learning_rate"):
            writer.add_scalar(name, getattr(row, name), row.step)
        writer.flush()

    try:
        yield add
    finally:
        writer.close()
