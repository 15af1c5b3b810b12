"""The report of a search: one HTML file that contains its pictures.

Pictures of a search: score against each setting, loss curves, predictions side by side.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimstream_models.html_page import picture, web_page
from dimstream_models.training.fitting.history import CURVE, Epoch, read_history
from dimstream_models.training.pairs.prepared import Prepared
from dimstream_models.training.search.ranking import Scored
from dimstream_models.training.search.space import PLACES, Value, in_order
from dimstream_models.training.settings import Recipe

DONE: Final = "#4c72b0"
FAILED: Final = "#c0392b"
SCORES: Final = matplotlib.colormaps["viridis"]
CROP_PX: Final = 256  # central part of a field in the side-by-side, so that pixels are visible

Image = NDArray[Any]


def draw_knobs(runs: Sequence[Scored]) -> bytes:
    """Return a PNG: the total score of each trial against each setting, medians, failed trials below 0."""
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
    """Return a PNG: the central part of a field: noisy, restored by each run, and its truth.

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
    """Return the loss of an epoch to draw; nan, which is not drawn, if no loss is a number."""
    losses = (row.validation_loss, row.training_loss)
    return next((loss for loss in losses if math.isfinite(loss)), math.nan)


def _middle(image: Image) -> Image:
    height, width = image.shape
    top, left = max(0, (height - CROP_PX) // 2), max(0, (width - CROP_PX) // 2)
    return image[top : top + CROP_PX, left : left + CROP_PX]


def label(value: Value) -> str:
    """Return a value of a setting as a short text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower().removesuffix("_uniform")


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


CAPTIONS: Final = {
    "knobs.png": "Total score of each trial against each setting; lines: medians; crosses: failed trials.",
    "losses.png": "Validation loss of each trial, coloured by its total score.",
    "predictions.png": "The brightest validation field: noisy, restored by each of the best, and its truth.",
}
HEAD: Final = ("", *PLACES, "SSIM", "MAE, counts", "resolution, px", "resolution, nm", "total score", "run")
SCORING: Final = (
    "SSIM and MAE are means over the validation fields, the resolution (decorrelation analysis) is their"
    " median. Each is scaled over the successful runs of its kind, 0 for the worst and 1 for the best; the "
    "total score is the mean of the three. A run without a resolution gets 0 for it. The test set was not "
    "used."
)


def render(
    recipe: Recipe,
    screened: Sequence[Scored],
    retrained: Sequence[Scored],
    prepared: Prepared,
    pictures: Mapping[str, bytes],
) -> str:
    """Return the page as HTML text.

    Parameters
    ----------
    recipe : Recipe
        The recipe of the search.
    screened, retrained : sequences of Scored
        Best first.
    prepared : Prepared
        The data, without the test set.
    pictures : mapping of str to bytes
        PNG by file name.
    """
    search, succeeded = recipe.search, sum(each.score is not None for each in screened)
    training, validation = len(prepared.of("training")), len(prepared.of("validation"))
    patches = "all patches" if search.instances is None else f"at most {search.instances} patches"
    body = [
        f"<h1>Search for {escape(recipe.bundle.id)}</h1>",
        f"<p>{len(screened)} trials ({search.sampler}) of {search.epochs} epochs on {patches} of {training}"
        f" training fields, judged on {validation} validation fields; {succeeded} succeeded. Data sha256"
        f" {prepared.sha256[:16]}.</p>",
        f"<p>{escape(SCORING)}</p>",
        "<h2>The best, trained to convergence on all data</h2>",
        _table(retrained, prepared.pixel_size_nm),
        "<h2>Ten best trials</h2>",
        _table(screened[:10], prepared.pixel_size_nm),
        _failures(screened),
        *(_picture(name, content) for name, content in pictures.items()),
    ]
    return web_page(f"Search for {recipe.bundle.id}", body)


def _table(runs: Sequence[Scored], pixel_size_nm: float | None) -> str:
    rows = [_line("th", HEAD)]
    rows += [_line("td", _cells(place, run, pixel_size_nm)) for place, run in enumerate(runs, 1)]
    return f"<table>{''.join(rows)}</table>" if runs else "<p>None.</p>"


def _cells(place: int, run: Scored, pixel_size_nm: float | None) -> list[str]:
    knobs = [str(run.trial.setting[knob]) for knob in PLACES]
    figures = run.outcome.figures if run.outcome else None
    if figures is None or run.score is None:
        return [str(place), *knobs, "failed", *[""] * 4, run.run.name]
    length = figures.resolution_px
    lengths = ["none" if length is None else f"{length:.2f}"]
    lengths += ["" if length is None or pixel_size_nm is None else f"{length * pixel_size_nm:.0f}"]
    numbers = [f"{figures.ssim:.4f}", f"{figures.mae:.4g}", *lengths, f"{run.score.total:.3f}"]
    return [str(place), *knobs, *numbers, f"{run.run.parent.name}/{run.run.name}"]


def _failures(runs: Sequence[Scored]) -> str:
    reasons = Counter(run.outcome.reason for run in runs if run.outcome and run.outcome.reason)
    if not reasons:
        return ""
    items = "".join(f"<li>{count}: {escape(str(reason))}</li>" for reason, count in reasons.most_common(10))
    return f"<h2>Why {reasons.total()} trials failed</h2><ul>{items}</ul>"


def _line(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _picture(name: str, content: bytes) -> str:
    return f"<h2>{CAPTIONS[name]}</h2>{picture(content, CAPTIONS[name])}"
