"""The loop of a run: epochs, checkpoints, divergence, the end. It can be killed and resumed at any point.

Ctrl-C and SIGTERM take effect between two steps, so that nothing is lost.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

import torch
from torch import Tensor
from tqdm import tqdm

from dimstream_models.training.errors import Diverged
from dimstream_models.training.fitting.batches import Batch, batches
from dimstream_models.training.fitting.checkpoints import BEST, LAST, load, save
from dimstream_models.training.fitting.history import Epoch, write_history
from dimstream_models.training.fitting.learner import Learner
from dimstream_models.training.fitting.record import RunRecord, State, write_record
from dimstream_models.training.fitting.schedule import finished, learning_rate
from dimstream_models.training.fitting.sources import Sources
from dimstream_models.training.settings import FitSettings

DRAW_EVERY_S: Final = 30.0
"""Least time between two drawings of the loss curve during a run; the final curve is always drawn."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Records that the process was asked to stop; a second request takes effect immediately.

    Outside the main thread, signals can neither be handled nor arrive.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)


GPU_WATCH = 16  # steps between two checks of the loss on a GPU, because each check waits for the GPU


class Trainer:
    """Owns everything that changes during one run.

    Parameters
    ----------
    settings : FitSettings
        Settings of the run.
    learner : Learner
        Takes the steps.
    sources : Sources
        Samples for training and validation.
    run : Path
        Folder of the run; training continues from its last checkpoint, if there is one.
    record : RunRecord
        Record of the run; its state is kept up to date.
    report : callable
        Called with each epoch's row.
    rest : callable, optional
        Called after each step.
    """

    def __init__(
        self,
        settings: FitSettings,
        learner: Learner,
        sources: Sources,
        *,
        run: Path,
        record: RunRecord,
        report: Callable[[Epoch], None],
        rest: Callable[[], object] | None = None,
    ) -> None:
        self.settings, self.learner, self.sources = settings, learner, sources
        self.run, self.record, self.report, self.rest = run, record, report, rest
        self.steps = settings.epochs * sources.training.steps_per_epoch
        self.step = 0
        self.rows: list[Epoch] = []
        self.losses: list[Tensor] = []  # (2,) each, of the epoch's steps so far: loss, and the error in it
        self._watched = 0  # number of these losses
        self._watch_every = 1 if learner.device.type == "cpu" else GPU_WATCH
        self._saved_at = time.monotonic()
        self._drawn_at = -math.inf
        if (run / LAST).exists():
            self._resume()

    def train(self, until: int | None = None) -> RunRecord:
        """Take steps until `until` or the end of the run, whichever comes first.

        Raises
        ------
        Diverged
            When the loss exceeds its limit or is not a number.
        KeyboardInterrupt
            When the process was asked to stop; the run is kept.
        """
        self._write_state("training")
        with Interruption() as interruption:
            try:
                self._take_steps(self.steps if until is None else min(until, self.steps), interruption)
                if self.losses:  # stopped within an epoch
                    self._save()
                    write_history([*self.rows, self._broken_epoch()], self.run)
                elif self.rows:
                    write_history(self.rows, self.run)
            except Diverged as error:
                write_history([*self.rows, self._broken_epoch()], self.run)
                self._write_state("failed", str(error))
                raise
        self._write_state("finished" if self._finished() else "stopped")
        if interruption.requested and not self._finished():
            raise KeyboardInterrupt
        return self.record

    def _take_steps(self, end: int, interruption: Interruption) -> None:
        if self._finished():
            return
        upcoming = batches(self.sources.training, self.step, end, device=self.learner.device)
        with closing(upcoming), self._bar() as bar:
            for batch in upcoming:
                self._take_step(batch)
                bar.update()
                if self.rest is not None:
                    self.rest()
                if self.step % self.sources.training.steps_per_epoch == 0:
                    self._end_epoch()
                    bar.set_postfix(validation=f"{self.rows[-1].validation_loss:.4g}")
                elif time.monotonic() - self._saved_at > self.settings.checkpoint_every_s:
                    self._save()
                if interruption.requested or self._finished():
                    return

    def _bar(self) -> tqdm[None]:
        return tqdm(total=self.steps, initial=self.step, desc="fit", unit="step", mininterval=2)

    def _take_step(self, batch: Batch) -> None:
        self.losses.append(self.learner.step(batch, self.step, self._learning_rate()))
        self.step += 1
        if len(self.losses) - self._watched >= self._watch_every:
            self._watch()

    def _watch(self) -> None:
        """Check the losses that were not checked yet."""
        recent = self.losses[self._watched :]
        self._watched = len(self.losses)
        if recent:
            self._require_sane(
                "loss", float(torch.stack(recent)[:, 0].max())
            )  # nan is greater than every number here

    def _require_sane(self, name: str, loss: float) -> None:
        if not loss <= self.settings.loss_limit:
            raise Diverged(
                f"the {name} reached {loss:g} by step {self.step}, above the limit of "
                f"{self.settings.loss_limit:g}: lower the learning rate or clip gradients more"
            )

    def _end_epoch(self) -> None:
        self._watch()
        training_loss = self._training_loss()
        validation_loss = self.learner.validate(self.sources.validation)
        self._require_sane("validation loss", validation_loss)
        rate = self._learning_rate(validation_loss)
        self.rows.append(Epoch(self.step, training_loss, validation_loss, rate))
        self.losses.clear()
        self._watched = 0
        self._save()
        self._save_if_best()
        draw = time.monotonic() - self._drawn_at > DRAW_EVERY_S
        write_history(self.rows, self.run, draw=draw)
        self._drawn_at = time.monotonic() if draw else self._drawn_at
        self.report(self.rows[-1])

    def _training_loss(self) -> float:
        return float(torch.stack(self.losses)[:, 1].contiguous().mean())

    def _broken_epoch(self) -> Epoch:
        """Return the row of an incomplete epoch."""
        return Epoch(self.step, self._training_loss(), math.nan, self._learning_rate())

    def _validation_losses(self) -> list[float]:
        return [row.validation_loss for row in self.rows]

    def _learning_rate(self, *newest: float) -> float:
        """Return the rate of the next step; `newest` is a validation loss that has no row yet."""
        validation = [*self._validation_losses(), *newest]
        return learning_rate(self.settings, self.step, steps=self.steps, validation=validation)

    def _finished(self) -> bool:
        return finished(self.settings, self._validation_losses())

    def _save(self) -> None:
        self._watch()
        losses = torch.stack(self.losses).cpu() if self.losses else torch.empty(0, 2)
        place = {"step": self.step, "losses": losses, "rows": [astuple(row) for row in self.rows]}
        save({**self.learner.state(), **place}, self.run / LAST)
        self._saved_at = time.monotonic()

    def _save_if_best(self) -> None:
        *before, newest = self._validation_losses()
        if newest < min(before, default=math.inf):
            save(self.learner.network.state_dict(), self.run / BEST)

    def _resume(self) -> None:
        state = load(self.run / LAST, self.learner.device)
        self.learner.load(state)
        self.step = state["step"]
        self.losses = list(state["losses"])
        self._watched = len(self.losses)
        self.rows = [Epoch(*row) for row in state["rows"]]
        if self.rows and not self.losses:
            self._save_if_best()  # the process may have been killed between the two files
            write_history(self.rows, self.run)

    def _write_state(self, state: State, reason: str | None = None) -> None:
        self.record = self.record.model_copy(update={"state": state, "reason": reason})
        write_record(self.record, self.run)
