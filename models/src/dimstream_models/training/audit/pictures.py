"""The pictures of an audit's report."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dimstream_models.quality.support_map import CLASS, PREDICTED, UNSUPPORTED
from dimstream_models.training.audit.alarms import WAYS, Death, of_kind
from dimstream_models.training.audit.auditing import Audit, AuditedMovie, Shown
from dimstream_models.training.audit.error_rates import CLAIMS, Figures, PixelRow, RateRow
from dimstream_models.training.audit.intervals import Estimate
from dimstream_models.training.audit.scores import SCORES, curve, empty_frames, signal_frames, values

DPI: Final = 100
COLOURS: Final[Mapping[str, str]] = {"alone": "#0072b2", "with_split": "#d55e00"}
TITLES: Final[Mapping[str, str]] = {
    "alone": "without the split-photon check",
    "with_split": "with the split-photon check",
}
SIGNAL_COLOUR, EMPTY_COLOUR = "#009e73", "#888888"
MAP_COLOURS: Final = {
    "background": (0.0, 0.0, 0.0),
    "uncertain": (0.25, 0.25, 0.25),
    "signal": (0.5, 0.5, 0.5),
    "predicted, supported": (0.34, 0.71, 0.91),
    "predicted, unsupported": (0.84, 0.37, 0.0),
}
ROW_INCHES, LEGEND_INCHES = 3.2, 0.5
LONGEST_DELAY: Final = 8
WHITE: Final = 0.999
"""Quantile that is white in pictures."""


def draw_curves(audit: Audit, figures: Figures) -> bytes:
    """Return a PNG: the ROC curve of each score, the whole curve and its corner."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    whole, corner = figure.subplots(1, 2)
    for place, score in enumerate(SCORES):
        found = [
            [value for movie in audit.simulated for value in values(score, frames(movie))]
            for frames in (signal_frames, empty_frames)
        ]
        if not all(found):
            continue
        label = f"{score.title}: {figures.area(score.key).value:.4f}"
        for axes in (whole, corner):
            axes.plot(*curve(*found), label=label, color=f"C{place}", linewidth=1.6)
    _axes(whole, "ROC, frames of at least 1 photon against empty ones", "false positives", "true positives")
    _axes(corner, "the corner", "false positives", "true positives")
    corner.set_xlim(-0.002, 0.1)
    corner.set_ylim(0.9, 1.002)
    _legend(whole, title="area under the curve", title_fontsize=8, loc="lower right")
    return _png(figure)


def draw_histograms(audit: Audit) -> bytes:
    """Return a PNG: distributions of the scores with and without a sample."""
    shown = [
        score for score in SCORES if score.key in ("structure_score", "best_ssim", "split_ssim", "decision")
    ]
    figure = Figure(figsize=(14, 3.6), layout="constrained")
    for axes, score in zip(figure.subplots(1, len(shown)), shown, strict=True):
        kinds = (
            ("at least 1 photon", signal_frames, SIGNAL_COLOUR),
            ("empty", empty_frames, EMPTY_COLOUR),
        )
        for label, frames, colour in kinds:
            found = [value for movie in audit.simulated for value in values(score, frames(movie))]
            if found:
                axes.hist(found, _bins(score.key), label=label, color=colour, alpha=0.6)
        if score.key == "structure_score":
            axes.set_xscale("symlog", linthresh=10)
        _axes(axes, score.title, "score", "frames")
        axes.set_yscale("symlog", linthresh=1)
        _legend(axes)
    return _png(figure)


def draw_delays(figures: Figures) -> bytes:
    """Return a PNG: frames until the end of a sample was detected."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    titles = {"flagged": "by the flag", "at_allowed": "by the decision score at 1 % false alarms"}
    for axes, (by, title) in zip(panels, titles.items(), strict=True):
        for place, way in enumerate(WAYS):
            heights = _delays(figures.deaths[way], by)
            where = np.arange(len(heights)) + 0.4 * (place - 0.5)
            axes.bar(where, heights, 0.4, color=COLOURS[way], label=TITLES[way])
        labels = [*map(str, range(LONGEST_DELAY)), "later", "never"]
        axes.set_xticks(range(len(labels)), labels)
        _axes(axes, f"ends of the sample detected {title}", "frames too late", "movies")
        _legend(axes)
    return _png(figure)


def draw_rates(rows: Sequence[RateRow], title: str) -> bytes:
    """Return a PNG: a rate for each condition, per thousand frames, with the widest interval."""
    names = list(dict.fromkeys(row.name for row in rows))
    figure = Figure(figsize=(10, 1.2 + 0.28 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for place, way in enumerate(WAYS):
        for row in (row for row in rows if row.way == way and row.rate.frames):
            y = len(names) - 1 - names.index(row.name) - 0.3 * (place - 0.5)
            value = 1000 * (row.rate.estimate.value or 0.0)
            low, high = 1000 * (row.rate.frames_low or 0.0), 1000 * (row.rate.frames_high or 0.0)
            axes.plot([low, high], [y, y], color=COLOURS[way], linewidth=1)
            axes.plot(value, y, "o", color=COLOURS[way], markersize=4)
    axes.set_yticks(range(len(names)), names[::-1], fontsize=8)
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(-1, 1100)
    _axes(axes, title, "per thousand frames (Clopper-Pearson 95 %)", "")
    figure.legend(handles=_ways(), loc="outside upper right", ncols=2, fontsize=8)
    return _png(figure)


def draw_claims(figures: Figures) -> bytes:
    """Return a PNG: how often the stated probabilities are at most each value."""
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    for axes, (title, (name, _)) in zip(figure.subplots(1, len(CLAIMS)), CLAIMS.items(), strict=True):
        rows = [row for row in figures.claims if row.of == title]
        for world, colour in (("simulator", "#0072b2"), ("other", "#d55e00")):
            points = [(row.claimed, row.measured.by_physics.get(world)) for row in rows]
            known = [(x, y) for x, y in points if y is not None]
            if known:
                axes.plot(*zip(*known, strict=True), ":", color=colour, label=world, linewidth=1.2)
        _with_bars(axes, [row.claimed for row in rows], [row.measured for row in rows], "black", "both")
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
        _axes(axes, f"{name}, {title}", "stated probability", "share of frames with at most that")
        _legend(axes)
    return _png(figure)


def draw_pixels(figures: Figures) -> bytes:
    """Return a PNG: recall, precision and lost structure of the support map by dose and by background."""
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    takes: dict[str, Callable[[PixelRow], Estimate]] = {
        "recall: invented pixels marked as unsupported": lambda row: row.recall,
        "precision: unsupported pixels that are invented": lambda row: row.precision,
        "real pixels marked as unsupported": lambda row: row.real_lost,
    }
    for line, by in zip(figure.subplots(2, 3), ("dose", "background"), strict=True):
        for axes, (title, take) in zip(line, takes.items(), strict=True):
            for way in WAYS:
                rows = [row for row in figures.pixels if (row.by, row.way) == (by, way)]
                places = [float(row.name) for row in rows]
                _with_bars(axes, places, [take(row) for row in rows], COLOURS[way], TITLES[way])
            axes.set_xscale("log")
            axes.set_ylim(-0.03, 1.03)
            unit = "photons" if by == "dose" else "counts/px"
            _axes(axes, title if by == "dose" else "", f"{by} / {unit}", "share")
    figure.axes[0].legend(handles=_ways(), fontsize=8)
    return _png(figure)


def draw_gallery(shown: Sequence[Shown]) -> bytes:
    """Return a PNG: frames with their prediction, their truth and their support map."""
    inches = ROW_INCHES * len(shown) + LEGEND_INCHES
    figure = Figure(figsize=(12, inches))
    for place, each in enumerate(shown):
        bottom = 1 - (LEGEND_INCHES + ROW_INCHES * (place + 1)) / inches
        axes = figure.add_axes((0.01, bottom, 0.98, 0.92 * ROW_INCHES / inches))
        axes.imshow(_side_by_side(each), interpolation="nearest")
        axes.set_title(f"{each.name}: {each.flag}", loc="left", fontsize=9)
        axes.set_axis_off()
    handles = [Patch(color=colour, label=name) for name, colour in MAP_COLOURS.items()]
    figure.legend(handles=handles, loc="upper right", ncols=len(handles), fontsize=8)
    return _png(figure)


def shown_frames(movies: Sequence[AuditedMovie]) -> list[Shown]:
    """Return the frames of an audit for the report."""
    return [movie.shown for movie in movies if movie.shown is not None]


def has_deaths(audit: Audit) -> bool:
    """Return whether any sample ended."""
    return bool(of_kind(audit.simulated, "dying"))


def _delays(deaths: Sequence[Death], by: str) -> list[int]:
    found = [getattr(death, by) for death in deaths]
    early = [sum(delay == wanted for delay in found) for wanted in range(LONGEST_DELAY)]
    later = sum(delay is not None and delay >= LONGEST_DELAY for delay in found)
    return [*early, later, sum(delay is None for delay in found)]


def _with_bars(
    axes: Axes, places: Sequence[float], estimates: Sequence[Estimate], colour: str, label: str
) -> None:
    known = [(x, each) for x, each in zip(places, estimates, strict=True) if each.value is not None]
    if not known:
        return
    xs, ys = [x for x, _ in known], [each.value or 0.0 for _, each in known]
    below = [max(y - (each.low or 0.0), 0.0) for y, (_, each) in zip(ys, known, strict=True)]
    above = [max((each.high or 0.0) - y, 0.0) for y, (_, each) in zip(ys, known, strict=True)]
    axes.errorbar(xs, ys, [below, above], color=colour, label=label, marker="o", markersize=4, linewidth=1)


def _bins(key: str) -> NDArray[np.float64]:
    if key != "structure_score":
        return np.linspace(-1, 1, 81)
    return np.concatenate([np.linspace(-10, 10, 41), np.geomspace(10.5, 1e4, 40)])


def _side_by_side(shown: Shown) -> NDArray[np.float64]:
    """Return raw counts, prediction, truth and support map next to each other, (H, 4 W + gaps, 3)."""
    seen = [_shaded(image, float(np.quantile(image, WHITE))) for image in (shown.raw, shown.prediction)]
    panels = [*seen, _shaded(shown.truth, 2 * shown.dose), _coloured(shown.support)]
    gap = np.ones((len(shown.raw), max(shown.raw.shape[1] // 40, 1), 3))
    parts = [part for panel in panels for part in (panel, gap)]
    return np.concatenate(parts[:-1], axis=1)


def _shaded(image: NDArray[Any], white: float) -> NDArray[np.float64]:
    return np.asarray(colormaps["magma"](np.clip(image / max(white, 1e-6), 0, 1))[..., :3])


def _coloured(bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    colours = np.array(list(MAP_COLOURS.values()))
    predicted, unsupported = ((bits & bit).astype(bool) for bit in (PREDICTED, UNSUPPORTED))
    return np.asarray(colours[np.where(predicted, 3 + unsupported, bits & CLASS)])


def _legend(axes: Axes, **options: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, **options)


def _ways() -> list[Patch]:
    return [Patch(color=COLOURS[way], label=TITLES[way]) for way in WAYS]


def _axes(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
