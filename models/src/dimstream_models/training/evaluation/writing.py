"""The files of an evaluation: a table and a summary for programs, a report for people."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dimstream_models.training.errors import CannotEvaluate
from dimstream_models.training.evaluation.evaluate import Evaluation
from dimstream_models.training.evaluation.metric_tables import (
    METRICS,
    Difference,
    Metric,
    Row,
    Summary,
    absences,
    differences,
    summarise,
)
from dimstream_models.training.evaluation.report import number_of_pairs, render, statements, warnings
from dimstream_models.whole_files import write_whole

TABLE, SUMMARY, REPORT = "figures.csv", "summary.json", "report.html"
FIRST_COLUMNS: Final = ("image", "day", "kind", "data_range", "pixel_size_nm", "gain", "offset", "correlated")


def make_folder(folder: Path) -> None:
    """Create the folder of the report, before any work is done.

    Raises
    ------
    CannotEvaluate
        When it cannot be written into.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise CannotEvaluate(f"expected a writable folder for the report, got {folder}: {error}") from error


def write_report(evaluation: Evaluation, folder: Path) -> None:
    """Write `figures.csv`, `summary.json` and `report.html`, replacing those of an earlier evaluation.

    The report is written last: if it exists, all three files are complete and belong together, even after a
    crash.

    Raises
    ------
    CannotEvaluate
        When the folder cannot be written into.
    """
    table = io.StringIO()
    csv.writer(table).writerows(_table(evaluation))
    summary = json.dumps(_summary(evaluation), indent=2, ensure_ascii=False, allow_nan=False)
    report = render(evaluation)
    make_folder(folder)
    (folder / REPORT).unlink(missing_ok=True)
    for name, text in ((TABLE, table.getvalue()), (SUMMARY, summary + "\n"), (REPORT, report)):
        write_whole(folder / name, text.encode("utf-8"))


def _table(evaluation: Evaluation) -> Iterator[list[object]]:
    yield [*FIRST_COLUMNS, *(name for metric in METRICS for name in _names(metric))]
    for row in evaluation.rows:
        gain, offset = row.line or (None, None)
        first = (
            row.image,
            row.day,
            row.kind,
            row.data_range,
            row.pixel_size_nm,
            gain,
            offset,
            row.correlated,
        )
        yield [*first, *(value for metric in METRICS for value in _values(metric, row))]


def _names(metric: Metric) -> list[str]:
    if metric.is_length:
        return [f"{metric.key}_px", f"{metric.key}_nm"]
    return [f"{metric.key}_{metric.unit.lower()}" if metric.unit else metric.key]


def _values(metric: Metric, row: Row) -> list[float | None]:
    found = [row.value(metric, metric.unit)]
    return [*found, row.value(metric, "nm")] if metric.is_length else found


def _summary(evaluation: Evaluation) -> dict[str, Any]:
    bundle, rows, settings = evaluation.bundle, evaluation.rows, evaluation.settings
    return {
        "bundle": {
            "id": bundle.id,
            "weights_sha256": bundle.sha256,
            "gain": bundle.gain,
            "offset": bundle.offset,
        },
        "pairs": evaluation.pairs,
        "images": number_of_pairs(rows),
        "settings": vars(settings),
        "sentence": evaluation.sentence,
        "figures": evaluation.figures("evaluated"),
        "warnings": list(warnings(rows)),
        "statements": statements(rows, settings, evaluation.rivals),
        "summary": [_summary_entry(each) for each in summarise(rows)],
        "tests": [_test_entry(each) for each in differences(rows)],
        "absent": [
            {"figure": each.metric.key, "kind": each.kind, "images": each.images, "reason": each.reason}
            for each in absences(rows)
        ],
    }


def _summary_entry(summary: Summary) -> dict[str, Any]:
    return {
        "figure": summary.metric.key,
        "unit": summary.unit,
        "kind": summary.kind,
        "n": summary.n,
        "median": summary.median,
        "quartiles": [summary.lower_quartile, summary.upper_quartile],
        "mean": summary.mean,
        "sd": summary.sd,
        "shapiro_wilk": {"w": summary.shapiro_wilk.statistic, "p": summary.shapiro_wilk.p},
    }


def _test_entry(difference: Difference) -> dict[str, Any]:
    outcome = difference.outcome
    return {
        "figure": difference.metric.key,
        "between": [difference.first, difference.second],
        "mann_whitney_u": outcome.statistic,
        "p": outcome.p,
        "mark": outcome.mark,
        "why_none": outcome.why_none,
    }
