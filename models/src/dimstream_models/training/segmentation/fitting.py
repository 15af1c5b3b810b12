"""The fit of the segmentation network; it can be killed and resumed at any point."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from dimstream_models.training.errors import CheckpointMismatch
from dimstream_models.training.fitting.checkpoints import LAST, load, save
from dimstream_models.training.fitting.loop import Interruption
from dimstream_models.training.segmentation.frame_library import FrameLibrary, frame_library
from dimstream_models.training.segmentation.labelled_frames import CLASSES
from dimstream_models.training.segmentation.network import SegmentationNetwork
from dimstream_models.training.segmentation.patches import patch_batch
from dimstream_models.whole_files import write_whole

SETTINGS: Final = "settings.json"
CURVE: Final = "loss.csv"
FRAMES: Final = "frames"
CHECKPOINT_S: Final = 30.0
_VALIDATE_EVERY: Final = 250  # steps
_WARM_UP: Final = 100  # steps
_CLIP: Final = 1.0
_OVERLAP_WEIGHT: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Settings of a fit.

    Parameters
    ----------
    seed : int
        Seed of scenes, patches and weights.
    scenes, validation_scenes : int
        Numbers of simulated scenes; each gives three frames.
    patch_px : int
        Side of the patches; a multiple of the network's step.
    bfloat16 : bool
        Convolutions of the fit in bfloat16: half the time or less where the processor has it. Weights and
        loss stay float32.
    """

    seed: int = 0
    scenes: int = 800
    validation_scenes: int = 24
    steps: int = 5600
    batch: int = 8
    patch_px: int = 128
    bfloat16: bool = True
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class Progress:
    """One row of the curve: steps taken, mean loss since the row before, loss on validation frames."""

    step: int
    training: float
    validation: float


def fit_segmenter(effort: Effort, denoiser: Path, run: Path) -> tuple[SegmentationNetwork, FrameLibrary]:
    """Return a fitted network and its validation frames; a stopped fit is continued.

    Parameters
    ----------
    denoiser : Path
        Bundle that denoises frames.
    run : Path
        Folder of the fit: a new one, or that of the same fit.

    Raises
    ------
    CheckpointMismatch
        When the folder belongs to a fit with other settings.
    KeyboardInterrupt
        When the process was asked to stop; the fit is saved.
    """
    check_settings(run, effort)
    frames = run / FRAMES
    validation = frame_library(
        frames, denoiser, seed=effort.seed, purpose="validation", scenes=effort.validation_scenes
    )
    training = frame_library(frames, denoiser, seed=effort.seed, purpose="training", scenes=effort.scenes)
    return Fit(effort, training, validation, run).go_on(), validation


class Fit:
    """Owns everything that changes during one fit.

    Parameters
    ----------
    run : Path
        Folder of the fit; the fit continues from its checkpoint, if there is one.

    Raises
    ------
    CheckpointMismatch
        When the folder belongs to a fit with other settings.
    """

    def __init__(self, effort: Effort, training: FrameLibrary, validation: FrameLibrary, run: Path) -> None:
        self.effort, self.training, self.validation, self.run = effort, training, validation, run
        torch.manual_seed(effort.seed)
        self.network = SegmentationNetwork(len(CLASSES))
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(self.network.parameters(), effort.learning_rate, weight_decay=1e-4)
        self.step = 0
        self.rows: list[Progress] = []
        self._losses: list[float] = []
        self._saved_at = time.monotonic()
        check_settings(run, effort)
        if (run / LAST).is_file():
            self._resume()

    def go_on(self) -> SegmentationNetwork:
        """Take the remaining steps, and return the network.

        Raises
        ------
        KeyboardInterrupt
            When the process was asked to stop; the fit is saved.
        """
        steps = self.effort.steps
        with (
            Interruption() as interruption,
            tqdm(total=steps, initial=self.step, desc="fit", unit="step", mininterval=2) as bar,
        ):
            while self.step < steps:
                self._take_step()
                bar.update()
                if self.step % _VALIDATE_EVERY == 0 or self.step == steps:
                    self._end_row()
                    bar.set_postfix(validation=f"{self.rows[-1].validation:.4f}")
                if interruption.requested or time.monotonic() - self._saved_at > CHECKPOINT_S:
                    self._save()
                if interruption.requested:
                    raise KeyboardInterrupt
        self._save()
        return self.network.eval()

    def _take_step(self) -> None:
        effort = self.effort
        for group in self.optimiser.param_groups:
            group["lr"] = _rate(effort, self.step)
        images, labels = patch_batch(
            self.training, seed=effort.seed, step=self.step, size=effort.batch, side_px=effort.patch_px
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=effort.bfloat16):
            found = self.network.train()(images)
        loss = segmentation_loss(found.float(), labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimiser.step()
        self._losses.append(float(loss.detach()))
        self.step += 1

    def _end_row(self) -> None:
        self.rows.append(Progress(self.step, float(np.mean(self._losses)), self._validate()))
        self._losses = []
        lines = ["step,training,validation"]
        lines += [f"{row.step},{row.training:.6f},{row.validation:.6f}" for row in self.rows]
        write_whole(self.run / CURVE, ("\n".join(lines) + "\n").encode())

    def _validate(self) -> float:
        losses = []
        self.network.eval()
        with torch.no_grad():
            for start in range(0, len(self.validation), 4):
                images = self.validation.images[start : start + 4].astype(np.float32)
                labels = self.validation.labels[start : start + 4].astype(np.int64)
                found = self.network(torch.from_numpy(images[:, None]))
                losses.append(float(functional.cross_entropy(found, torch.from_numpy(labels))))
        return float(np.mean(losses))

    def _save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "rows": [asdict(row) for row in self.rows],
            "losses": self._losses,
        }
        save(state, self.run / LAST)
        self._saved_at = time.monotonic()

    def _resume(self) -> None:
        state: dict[str, Any] = load(self.run / LAST)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self._losses = state["step"], state["losses"]
        self.rows = [Progress(**row) for row in state["rows"]]


def segmentation_loss(found: Tensor, labels: Tensor) -> Tensor:  # (B, classes, y, x), (B, y, x)
    """Return the cross entropy, plus 1 minus the overlap of each class, and of the ER."""
    entropy = functional.cross_entropy(found, labels)
    shares = torch.softmax(found, dim=1)
    true = functional.one_hot(labels, found.shape[1]).movedim(-1, 1).float()
    er, true_er = 1 - shares[:, :1], 1 - true[:, :1]
    lacking = _lacking(torch.cat([shares[:, 1:], er], dim=1), torch.cat([true[:, 1:], true_er], dim=1))
    return entropy + _OVERLAP_WEIGHT * lacking


def _lacking(found: Tensor, true: Tensor) -> Tensor:  # (B, k, y, x) each
    """Return 1 minus the mean overlap (Jaccard index of probabilities) of k classes over a batch."""
    both = (found * true).sum(dim=(0, 2, 3))
    either = (found + true - found * true).sum(dim=(0, 2, 3))
    return 1 - ((both + 1) / (either + 1)).mean()


def check_settings(run: Path, effort: Effort) -> None:
    """Store the settings of a new run; refuse a run with other settings.

    Raises
    ------
    CheckpointMismatch
    """
    run.mkdir(parents=True, exist_ok=True)
    stated = json.dumps(asdict(effort), indent=1)
    file = run / SETTINGS
    if file.is_file() and file.read_text() != stated:
        raise CheckpointMismatch(
            f"{run}: expected a new folder or a fit with the same settings, got one with others: choose"
            " another --run, or give the settings in its settings.json"
        )
    write_whole(file, stated.encode())


def _rate(effort: Effort, step: int) -> float:
    if step < _WARM_UP:
        return effort.learning_rate * (step + 1) / _WARM_UP
    share = (step - _WARM_UP) / max(1, effort.steps - _WARM_UP)
    return effort.learning_rate * (0.5 * (1 + math.cos(math.pi * min(share, 1.0))) + 0.002)
