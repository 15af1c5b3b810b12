"""Importances and suitabilities as tables and as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dimstream_models.training.fitting.checkpoints import write_whole
from dimstream_models.training.search.importance import Importance, KnobImportance
from dimstream_models.training.search.pictures import DONE, FAILED, label, png
from dimstream_models.training.search.table import as_csv, told


def write_importance(importance: Importance, folder: Path) -> None:
    """Write `importance.csv` (a line a knob), `suitability.csv` (a line a value) and `importance.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    shared = {
        "runs": importance.runs,
        "failed": importance.failed,
        "r_squared": importance.r_squared,
        "r_squared_out_of_bag": importance.r_squared_out_of_bag,
    }
    knobs = [
        {
            "knob": knob.knob,
            "permutation": knob.permutation,
            "permutation_spread": knob.permutation_spread,
            "impurity": knob.impurity,
            **shared,
        }
        for knob in importance.knobs
    ]
    values = [
        {"knob": knob.knob, **asdict(value), "value": told(value.value)}
        for knob in importance.knobs
        for value in knob.values
    ]
    write_whole(folder / "importance.csv", as_csv(tuple(knobs[0]), knobs))
    write_whole(folder / "suitability.csv", as_csv(tuple(values[0]), values))
    write_whole(folder / "importance.png", draw_importance(importance))


def draw_importance(importance: Importance) -> bytes:
    """Return a PNG: both importances of each knob, and the score expected of each of its values."""
    figure = Figure(figsize=(14, 8), layout="constrained")
    figure.suptitle(importance.verdict, fontsize=10)
    [[left, right]] = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 2))
    _importance_bars(left.subplots(), importance.knobs)
    for axes, knob in zip(right.subplots(2, 3, sharey=True).flat, importance.knobs, strict=True):
        _suitability_bars(axes, knob)
    right.supylabel("expected total score; above: suitability within the knob")
    return png(figure)


def _importance_bars(axes: Axes, knobs: Sequence[KnobImportance]) -> None:
    places = np.arange(len(knobs))
    axes.barh(places - 0.2, [knob.impurity for knob in knobs], 0.38, label="impurity, share of 1")
    axes.barh(
        places + 0.2,
        [knob.permutation for knob in knobs],
        0.38,
        xerr=[knob.permutation_spread for knob in knobs],
        label="permutation, fall of R² (bar: standard deviation)",
    )
    axes.set_yticks(places, [knob.knob for knob in knobs])
    axes.invert_yaxis()
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.set_xlabel("importance")
    axes.legend(fontsize=8, loc="lower right")


def _suitability_bars(axes: Axes, knob: KnobImportance) -> None:
    for place, value in enumerate(knob.values):
        height = value.expected_score or 0.0
        axes.bar(place, height, color=DONE if value.expected_score is not None else FAILED)
        rated = "only value" if value.suitability is None else f"{value.suitability:.2f}"
        failed = f"\n{value.failed} failed" if value.failed else ""
        axes.text(place, height + 0.01, rated + failed, ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(knob.values)), [label(value.value) for value in knob.values], fontsize=8)
    axes.set(xlabel=knob.knob, ylim=(0, 1.15))
