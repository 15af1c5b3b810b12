"""Pictures of a search: score against each knob, loss curves, predictions side by side."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimstream_models.training.fitting.history import CURVE, Epoch, read_history
from dimstream_models.training.search.ranking import Scored
from dimstream_models.training.search.space import PLACES, Value, in_order

DONE: Final = "#4c72b0"
FAILED: Final = "#c0392b"
SCORES: Final = matplotlib.colormaps["viridis"]
CROP_PX: Final = 256  # of a field in the side-by-side: its middle, so that pixels can be seen

Image = NDArray[Any]


def draw_knobs(runs: Sequence[Scored]) -> bytes:
    """Return a PNG: the total score of each trial against each knob, medians, failed trials below 0."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    for axes, knob in zip(figure.subplots(2, 3, sharey=True).flat, PLACES, strict=True):
        values = in_order([run.trial.setting[knob] for run in runs])
        _scatter(axes, runs, knob, values)
        axes.set_xticks(range(len(values)), [label(value) for value in values])
        axes.set(xlabel=knob, ylim=(-0.12, 1.05))
        axes.axhline(0, color="0.8", zorder=0)
    figure.supylabel("total score (0 worst, 1 best); crosses: failed")
    return png(figure)


def draw_losses(runs: Sequence[Scored]) -> bytes:
    """Return a PNG: the validation loss of every trial, coloured by its score; failed ones are dashed."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for run in sorted(runs, key=lambda each: each.total):
        if (run.run / CURVE).exists():
            colour, style = (FAILED, "--") if run.score is None else (SCORES(run.score.total), "-")
            losses = [_loss(row) for row in read_history(run.run)]
            axes.plot(range(1, len(losses) + 1), losses, style, color=colour, linewidth=1, marker=".")
    axes.set(xlabel="epoch", ylabel="validation loss (where a trial failed: training loss)", yscale="log")
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 1), SCORES)
    figure.colorbar(scale, ax=axes, label="total score; dashed: failed")
    return png(figure)


def draw_predictions(noisy: Image, predictions: Mapping[str, Image], truth: Image) -> bytes:
    """Return a PNG: the middle of a field, noisy, as each run restores it, and its truth.

    Parameters
    ----------
    noisy, truth : (H, W) counts
        Each on its own grey scale.
    predictions : mapping of str to (H, W) counts
        By title, on the truth's grey scale.
    """
    images = {"noisy": noisy, **predictions, "truth": truth}
    top = float(np.quantile(_middle(truth), 0.998)) or 1.0
    columns = min(len(images), 4)
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(3.2 * columns, 3.5 * rows), layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, (title, image) in zip(figure.get_axes(), images.items(), strict=False):
        own = float(np.quantile(_middle(image), 0.998)) or 1.0
        axes.imshow(_middle(image), cmap="magma", vmin=0, vmax=own if title == "noisy" else top)
        axes.set_title(title, fontsize=8)
    return png(figure)


def _scatter(axes: Axes, runs: Sequence[Scored], knob: str, values: Sequence[Value]) -> None:
    jitter = np.random.default_rng(0)
    for place, value in enumerate(values):
        own = [run for run in runs if run.trial.setting[knob] == value]
        scores = [run.total for run in own if run.score is not None]
        failed = sum(run.score is None and run.outcome is not None for run in own)
        axes.scatter(place + jitter.uniform(-0.2, 0.2, len(scores)), scores, s=14, color=DONE, alpha=0.6)
        axes.scatter(
            place + jitter.uniform(-0.2, 0.2, failed), [-0.06] * failed, s=18, marker="x", color=FAILED
        )
        if scores:
            axes.hlines(float(np.median(scores)), place - 0.3, place + 0.3, color="black", linewidth=1.5)


def _loss(row: Epoch) -> float:
    """Return what is drawn of an epoch; nan, which is not drawn, where no loss is a number."""
    losses = (row.validation_loss, row.training_loss)
    return next((loss for loss in losses if math.isfinite(loss)), math.nan)


def _middle(image: Image) -> Image:
    height, width = image.shape
    top, left = max(0, (height - CROP_PX) // 2), max(0, (width - CROP_PX) // 2)
    return image[top : top + CROP_PX, left : left + CROP_PX]


def label(value: Value) -> str:
    """Return a value of a knob, short."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower().removesuffix("_uniform")


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
