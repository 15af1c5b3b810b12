"""Cells and conditions of an experiment: one value of each figure per cell, and the paper's tests between
conditions.

A cell is one analysed movie. Its value is the mean over its frames, because frames of one cell are not
independent samples of a condition.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from scipy import stats

from dimstream_models.analysis.errors import CannotCompare
from dimstream_models.analysis.summary import SUMMARY
from dimstream_models.analysis.tables import TableWriter
from dimstream_models.training.metrics.statistics import mann_whitney, shapiro_wilk, significance_mark

ALIKE: Final = ("segmenter", "settings", "dimstream")
"""Entries that must be equal in all summaries: figures that were measured differently cannot be compared."""


@dataclass(frozen=True)
class Cell:
    """One analysed movie: the mean of each column over its frames, and each rate; None where a value is
    missing."""

    name: str
    condition: str
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Comparison:
    """One figure between two conditions.

    Parameters
    ----------
    cells : (int, int)
        Number of cells that have the figure.
    medians : (float or None, float or None)
    normal_p : (float or None, float or None)
        p of Shapiro and Wilk's test; None with too few cells, or when all are equal.
    p, q : float or None
        p of Mann and Whitney's U test, and q after Benjamini and Hochberg's correction for all tests of the
        experiment.
    mark : str
        The paper's marks: n.s., *, **, ***; empty without p.
    why_none : str
        Why there is no p.
    """

    figure: str
    conditions: tuple[str, str]
    cells: tuple[int, int]
    medians: tuple[float | None, float | None]
    normal_p: tuple[float | None, float | None]
    p: float | None
    q: float | None
    mark: str
    why_none: str


def read_cells(conditions: Mapping[str, Sequence[Path]]) -> list[Cell]:
    """Return the cells of each condition, from the folders that `dimstream-analyse run` wrote.

    Raises
    ------
    CannotCompare
        When a folder holds no finished analysis, is named twice, or was analysed differently from the others.
    """
    cells: list[Cell] = []
    first: tuple[Path, dict[str, Any]] | None = None
    seen: set[Path] = set()
    for condition, folders in conditions.items():
        for folder in folders:
            if folder.resolve() in seen:
                raise CannotCompare(f"{folder}: expected each cell once, got it twice")
            seen.add(folder.resolve())
            summary = _summary(folder)
            first = first or (folder, summary)
            _check_alike(folder, summary, *first)
            values = {
                name: mean["value"] for kind in ("means", "rates") for name, mean in summary[kind].items()
            }
            cells.append(Cell(str(folder), condition, values))
    return cells


def compare_conditions(cells: Sequence[Cell]) -> list[Comparison]:
    """Return the comparison of every figure between every two conditions.

    Raises
    ------
    CannotCompare
        With fewer than two conditions.
    """
    names = list(dict.fromkeys(cell.condition for cell in cells))
    if len(names) < 2:
        raise CannotCompare(f"expected at least two conditions, got {len(names)}: give each by --condition")
    found = [_compare(figure, pair, cells) for pair in combinations(names, 2) for figure in cells[0].values]
    tested = [each.p for each in found if each.p is not None]
    corrected = iter(stats.false_discovery_control(tested) if tested else [])
    return [
        each if each.p is None else Comparison(**{**vars(each), "q": float(next(corrected))})
        for each in found
    ]


def write_comparison(cells: Sequence[Cell], comparisons: Sequence[Comparison], folder: Path) -> None:
    """Write `cells` and `comparison` as CSV and Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {"cell": pa.string(), "condition": pa.string()}
    columns |= dict.fromkeys(cells[0].values, pa.float64())
    with TableWriter(folder / "cells", columns, {}) as table:
        table.write({"cell": cell.name, "condition": cell.condition, **cell.values} for cell in cells)
    rows = [_row(each) for each in comparisons]
    types = {str: pa.string(), int: pa.int64()}
    columns = {name: types.get(type(value), pa.float64()) for name, value in rows[0].items()}
    with TableWriter(folder / "comparison", columns, {}) as table:
        table.write(rows)


def comparison_text(comparisons: Sequence[Comparison]) -> str:
    """Return the comparisons as lines, smallest p first; those without p are counted."""
    tested = sorted((each for each in comparisons if each.p is not None), key=lambda each: each.p or 0)
    lines = [
        f"{each.figure}: {each.conditions[0]} {each.medians[0]:.4g} (n = {each.cells[0]}),"
        f" {each.conditions[1]} {each.medians[1]:.4g} (n = {each.cells[1]}), p = {each.p:.3g} {each.mark},"
        f" corrected {each.q:.3g}"
        for each in tested
    ]
    reasons = {each.why_none for each in comparisons if each.p is None}
    lines += [f"not tested: {why}" for why in sorted(reasons)]
    return "\n".join(lines)


def _summary(folder: Path) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return summary
    except (OSError, ValueError) as error:
        raise CannotCompare(
            f"{folder}: expected a folder that `dimstream-analyse run` finished, got: {error}"
        ) from error


def _check_alike(folder: Path, summary: dict[str, Any], first: Path, other: dict[str, Any]) -> None:
    different = [name for name in ALIKE if summary.get(name) != other.get(name)]
    if set(summary["means"]) != set(other["means"]) or set(summary["rates"]) != set(other["rates"]):
        different.append("different units (the pixel size or the times of one of them are unknown)")
    if different:
        raise CannotCompare(
            f"{folder}: expected an analysis like that of {first}, got another one: {', '.join(different)};"
            " analyse all cells alike"
        )


def _compare(figure: str, conditions: tuple[str, str], cells: Sequence[Cell]) -> Comparison:
    one, two = (
        [value for cell in cells if cell.condition == name and (value := cell.values[figure]) is not None]
        for name in conditions
    )
    outcome = mann_whitney(one, two)
    return Comparison(
        figure,
        conditions,
        (len(one), len(two)),
        (_median(one), _median(two)),
        (shapiro_wilk(one).p, shapiro_wilk(two).p),
        outcome.p,
        None,
        "" if outcome.p is None else significance_mark(outcome.p),
        outcome.why_none or "",
    )


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _row(each: Comparison) -> dict[str, Any]:
    row: dict[str, Any] = {"figure": each.figure}
    for place, name in enumerate(("first", "second")):
        row[name] = each.conditions[place]
        row[f"{name}_cells"] = each.cells[place]
        row[f"{name}_median"] = each.medians[place]
        row[f"{name}_shapiro_wilk_p"] = each.normal_p[place]
    return row | {
        "mann_whitney_p": each.p,
        "corrected_p": each.q,
        "mark": each.mark,
        "why_none": each.why_none,
    }
