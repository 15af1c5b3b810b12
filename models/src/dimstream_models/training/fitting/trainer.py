"""A seeded training run: checkpoints, exact resume, loss curve.

A run folder holds `recipe.yaml`, `last.pt` (network, optimiser, history), `best.pt` (the network with
the lowest validation error), `loss.csv` and `loss.png`; a recipe with fine-tuning has them once more in
`fine-tuning/`.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.figure import Figure
from torch import Tensor
from tqdm import tqdm

from dimstream_models.training.errors import CheckpointMismatch, Diverged
from dimstream_models.training.fitting.batches import Batch, SampleSource, batches
from dimstream_models.training.fitting.losses import restoration_loss, shot_noise_weight
from dimstream_models.training.fitting.sources import open_sources
from dimstream_models.training.network import UNetRCAN, build_network, initialise
from dimstream_models.training.normalisation import build_normaliser, build_truth_normaliser
from dimstream_models.training.settings import Recipe, write_recipe

matplotlib.use("Agg")
FINE_TUNING = "fine-tuning"  # folder of the second fit, within the run's


@dataclass
class History:
    """What a run has seen so far: rows of (step, training loss, validation loss, learning rate)."""

    rows: list[tuple[int, float, float, float]] = field(default_factory=list)

    def best(self) -> float:
        """Return the lowest validation loss so far."""
        return min((row[2] for row in self.rows), default=math.inf)


def read_history(run: Path) -> list[dict[str, float]]:
    """Return the rows of a run's loss curve."""
    with (run / "loss.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def fit(recipe: Recipe, run: Path, *, device: str = "cpu", stop_after: int | None = None) -> None:
    """Train, or go on with a run that was stopped; `load_best` gives the network.

    Parameters
    ----------
    recipe : Recipe
        All settings.
    run : Path
        Folder of the run; a run that it already holds is continued.
    device : str
        A torch device.
    stop_after : int, optional
        Stop, resumable, at this step at the latest.

    Raises
    ------
    Diverged
        When the loss exceeds its limit or is no number.
    CheckpointMismatch
        When the folder holds a run of another recipe.
    """
    trainer = Trainer(recipe, run, device)
    trainer.resume()
    trainer.train(stop_after)
    if recipe.fine_tuning is not None and trainer.done:
        second = Trainer(recipe.for_fine_tuning(), run / FINE_TUNING, device)
        second.start_from(run / "best.pt")
        second.resume()
        second.train(None)


def load_best(recipe: Recipe, run: Path) -> UNetRCAN:
    """Return the run's best network, fine-tuned where the recipe says so, on the CPU, ready to predict."""
    folder = run if recipe.fine_tuning is None else run / FINE_TUNING
    network = build_network(recipe.network)
    network.load_state_dict(torch.load(folder / "best.pt", map_location="cpu", weights_only=True))
    return network.eval()


class Trainer:
    """Owns everything that changes during one run."""

    def __init__(self, recipe: Recipe, run: Path, device: str) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self.recipe, self.run, self.device = recipe, run, torch.device(device)
        self.network = build_network(recipe.network)
        initialise(self.network, recipe.network.initializer, torch.Generator().manual_seed(recipe.seed))
        # channels last: 1.5 times as fast on a CPU, the same numbers
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=recipe.fit.learning_rate)
        self.history = History()
        self.step = 0
        batch = 4 if isinstance(recipe.fit.batch, str) else recipe.fit.batch
        self.sources = open_sources(recipe, batch=batch, device=self.device)
        self.steps = recipe.fit.epochs * self.sources.training.steps_per_epoch
        self.normaliser = build_normaliser(recipe.normalisation)
        self.truth_normaliser = build_truth_normaliser(
            recipe.normalisation, dose_ratio=self.sources.dose_ratio
        )

    def start_from(self, checkpoint: Path) -> None:
        """Begin with the weights of another run's best network."""
        self.network.load_state_dict(torch.load(checkpoint, map_location=self.device, weights_only=True))

    def resume(self) -> None:
        """Load the run's last checkpoint, if it has one."""
        path = self.run / "last.pt"
        if not path.exists():
            write_recipe(self.recipe, self.run / "recipe.yaml")
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != self._identity():
            raise CheckpointMismatch(
                f"{self.run} holds a run of another recipe: choose an empty folder or restore its recipe.yaml"
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.history = History([tuple(row) for row in state["history"]])
        self.step = state["step"]

    def train(self, until: int | None) -> None:
        """Take steps until `until` or the recipe's end, whichever comes first."""
        losses: list[Tensor] = []
        end = self.steps if until is None else min(until, self.steps)
        if self.step >= end:
            return
        with tqdm(total=self.steps, initial=self.step, desc="fit", unit="step", mininterval=2) as bar:
            for batch in batches(self.sources.training, self.step, end, device=self.device):
                losses.append(self._take_step(batch))
                self.step += 1
                bar.update()
                if self.step % self.sources.training.steps_per_epoch == 0 or self.step == end:
                    self._validate(float(torch.stack(losses).mean()), self.sources.validation)
                    bar.set_postfix(validation=f"{self.history.rows[-1][2]:.4f}")
                    losses.clear()

    @property
    def done(self) -> bool:
        """Whether the recipe's end is reached."""
        return self.step == self.steps

    def _take_step(self, batch: Batch) -> Tensor:
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self._clip_gradients()
        self.optimiser.step()
        return loss.detach()

    def _clip_gradients(self) -> None:
        settings, parameters = self.recipe.fit, list(self.network.parameters())
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        if settings.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, settings.clip_value)

    def _loss(self, batch: Batch) -> Tensor:
        target = self.truth_normaliser(batch.truth)
        half = self.recipe.fit.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            coarse, fine = self.network(self.normaliser(batch.counts))
        weighted = self.recipe.fit.loss.shot_noise_weighted
        return restoration_loss(
            (coarse.float(), fine.float()),
            target,
            shot_noise_weight(target) if weighted else target.new_ones(len(target)),
            self.recipe.fit.loss.edge_weight,
            batch.counted,
        )

    def _learning_rate(self) -> float:
        settings = self.recipe.fit
        if self.step < settings.warmup_steps:
            return settings.learning_rate * (self.step + 1) / settings.warmup_steps
        share = (self.step - settings.warmup_steps) / max(1, self.steps - settings.warmup_steps)
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def _validate(self, training_loss: float, source: SampleSource) -> None:
        self.network.eval()
        with torch.no_grad():
            steps = range(source.steps_per_epoch)
            loss = float(torch.stack([self._loss(source.batch(i).to(self.device)) for i in steps]).mean())
        self.network.train()
        limit = self.recipe.fit.loss_limit
        if not max(training_loss, loss) < limit:
            raise Diverged(
                f"the loss reached {training_loss:g} (validation {loss:g}) at step {self.step}, over the"
                f" limit of {limit:g}: lower the learning rate or clip gradients harder"
            )
        if loss < self.history.best():
            _save(self.network.state_dict(), self.run / "best.pt")
        self.history.rows.append((self.step, training_loss, loss, self._learning_rate()))
        _save(
            {
                "recipe": self._identity(),
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "history": self.history.rows,
                "step": self.step,
            },
            self.run / "last.pt",
        )
        write_loss_curve(self.history, self.run)

    def _identity(self) -> str:
        return self.recipe.model_dump_json(exclude={"calibration", "bundle", "fine_tuning"})


def write_loss_curve(history: History, run: Path) -> None:
    """Write `loss.csv` and `loss.png` into the run's folder."""
    with (run / "loss.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "training_loss", "validation_loss", "learning_rate"])
        writer.writerows(history.rows)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    steps = [row[0] for row in history.rows]
    axes.plot(steps, [row[1] for row in history.rows], label="training")
    axes.plot(steps, [row[2] for row in history.rows], label="validation")
    axes.set(xlabel="step", ylabel="loss (shot-noise units)", yscale="log")
    axes.legend()
    figure.savefig(run / "loss.png", dpi=120)


def _save(state: Any, path: Path) -> None:
    """Write a checkpoint so that a kill at any moment leaves the old or the new one."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)
