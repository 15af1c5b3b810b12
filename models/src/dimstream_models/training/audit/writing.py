"""The files of an audit: tables and figures for programs, pictures and a report for people."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from dimstream_models.training.audit.auditing import Audit
from dimstream_models.training.audit.error_rates import CLAIMED, QUANTILES, Figures, RateRow, measure
from dimstream_models.training.audit.goals import goals
from dimstream_models.training.audit.judged_movies import FrameRecord
from dimstream_models.training.audit.pictures import (
    draw_claims,
    draw_curves,
    draw_delays,
    draw_gallery,
    draw_histograms,
    draw_pixels,
    draw_rates,
    has_deaths,
    shown_frames,
)
from dimstream_models.training.audit.report import render
from dimstream_models.training.evaluation.writing import make_folder
from dimstream_models.training.fitting.record import package_versions
from dimstream_models.whole_files import write_whole

FORMAT_VERSION: Final = 1
FIGURES, TABLE, REPORT = "audit.json", "frames.csv", "report.html"
PIXEL_SHARES: Final = ("recall", "precision", "real_lost", "invented")
COLUMNS: Final = (
    "source",
    "condition",
    "kind",
    "movie",
    "height",
    "width",
    "dose_photons",
    "changes_at",
    "frame",
    "ssim",
    "ssim_aligned",
    "correlation",
    "shift_y_px",
    "shift_x_px",
    "structure_score",
    "background",
    "uncertain",
    "signal",
    "unsupported_fraction",
    "saturated",
    "split_ssim",
    "split_refused",
    "p_signal",
    "p_dark",
    "decision",
    "flag",
    "reason",
    "notes",
    "suspect_since",
    "decision_alone",
    "flag_alone",
)


def write_audit(audit: Audit, folder: Path, *, command: str) -> Figures:
    """Write `audit.json`, `frames.csv`, the pictures and `report.html`, replacing those of an earlier audit.

    The report is written last: if it exists, all files are complete and belong together, even after a crash.

    Parameters
    ----------
    command : str
        Command line of the audit, for the record.

    Raises
    ------
    CannotEvaluate
        When the folder is not writable.
    """
    figures, versions = measure(audit), package_versions() | {"onnxruntime": version("onnxruntime")}
    table = io.StringIO()
    csv.writer(table).writerows(_table(audit))
    content = _content(audit, figures, command=command, versions=versions)
    pngs = draw(audit, figures)
    report = render(audit, figures, pngs, _provenance(audit, command, versions))
    files = {TABLE: table.getvalue().encode(), **pngs}
    files[FIGURES] = (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    make_folder(folder)
    (folder / REPORT).unlink(missing_ok=True)
    for name, data in (files | {REPORT: report.encode()}).items():
        write_whole(folder / name, data)
    return figures


def draw(audit: Audit, figures: Figures) -> dict[str, bytes]:
    """Return all pictures by file name."""
    pngs = {
        "roc.png": draw_curves(audit, figures),
        "histograms.png": draw_histograms(audit),
        "false_alarms.png": draw_rates(figures.false_alarms, "false alarms"),
        "missed.png": draw_rates(figures.missed, "missed frames of empty fields"),
        "claims.png": draw_claims(figures),
        "pixels.png": draw_pixels(figures),
    }
    if has_deaths(audit):
        pngs["delays.png"] = draw_delays(figures)
    if shown := shown_frames(audit.simulated):
        pngs["gallery.png"] = draw_gallery(shown)
    return pngs


def _table(audit: Audit) -> Iterator[list[object]]:
    yield list(COLUMNS)
    for movie in audit.simulated:
        for record, dose in zip(movie.records, movie.doses, strict=True):
            own = [movie.physics, movie.condition.name, movie.condition.kind, movie.number, *movie.shape]
            yield [*own, dose, movie.changes_at, *_cells(record)]
    for recorded in audit.recorded:
        for record in recorded.records:
            own = ["recorded", recorded.path.name, recorded.role, 0, *recorded.shape]
            yield [*own, None, None, *_cells(record)]


def _cells(record: FrameRecord) -> list[object]:
    metrics, decision = record.metrics, record.outcome.decision
    shift = record.shift or (None, None)
    return [
        record.seq,
        metrics.ssim,
        metrics.ssim_aligned,
        metrics.correlation,
        *shift,
        metrics.structure_score,
        metrics.background,
        record.uncertain,
        record.signal,
        record.unsupported_fraction,
        metrics.saturated,
        metrics.split_ssim,
        record.refused,
        decision.p_signal,
        decision.p_dark,
        record.outcome.margin,
        decision.flag,
        decision.reason,
        " ".join(decision.notes),
        record.outcome.suspect_since,
        record.alone.decision,
        record.alone.decision.flag,
    ]


def _content(audit: Audit, figures: Figures, *, command: str, versions: Mapping[str, str]) -> dict[str, Any]:
    bundle, with_split = audit.bundle, audit.bundle.thresholds.split is not None
    return {
        "format_version": FORMAT_VERSION,
        "bundle": {
            "id": bundle.id,
            "weights_sha256": bundle.sha256,
            "thresholds": bundle.thresholds.model_dump(),
        },
        "command": command,
        "settings": asdict(audit.settings),
        "versions": dict(versions),
        "recorded_files": {str(movie.path): movie.sha256 for movie in audit.recorded},
        "simulated_movies": len(audit.simulated),
        "simulated_frames": sum(len(movie.records) for movie in audit.simulated),
        "goals": [asdict(goal) for goal in goals(figures, with_split=with_split)],
        **_figures(figures),
    }


def _figures(figures: Figures) -> dict[str, Any]:
    """Return all figures as JSON values."""
    return {
        "areas": [
            {"score": row.score, "condition": row.condition, **row.estimate.as_dict()}
            for row in figures.areas
        ],
        "false_alarms": _rates(figures.false_alarms),
        "missed_frames": _rates(figures.missed),
        "saturated": _rates(figures.saturated),
        "deaths": {way: [asdict(death) for death in found] for way, found in figures.deaths.items()},
        "noticed": {
            way: {by: estimate.as_dict() for by, estimate in found.items()}
            for way, found in figures.noticed.items()
        },
        "thresholds_at_allowed_false_alarms": dict(figures.thresholds_at_allowed),
        "support_map": [
            {
                "by": row.by,
                "name": row.name,
                "way": row.way,
                **{key: getattr(row, key).as_dict() for key in PIXEL_SHARES},
            }
            for row in figures.pixels
        ],
        "claimed_probabilities": list(CLAIMED),
        "calibration": [
            {
                "of": row.of,
                "probability": row.probability,
                "claimed": row.claimed,
                **row.measured.as_dict(),
            }
            for row in figures.claims
        ],
        **_recorded(figures),
    }


def _recorded(figures: Figures) -> dict[str, Any]:
    """Return the figures of recorded movies as JSON values."""
    return {
        "quantiles": list(QUANTILES),
        "recorded": [
            {
                "file": row.file,
                "role": row.role,
                "frames": row.frames,
                "wrong": {way: rate.as_dict() for way, rate in row.wrong.items()},
                "unjudged": row.unjudged,
                "score_quantiles": {key: list(found) for key, found in row.scores.items()},
                "split_refused": row.refused,
                "note": row.note,
            }
            for row in figures.recorded
        ],
    }


def _rates(rows: tuple[RateRow, ...]) -> list[dict[str, object]]:
    return [{"condition": row.name, "way": row.way, **row.rate.as_dict()} for row in rows]


def _provenance(audit: Audit, command: str, versions: Mapping[str, str]) -> dict[str, str]:
    settings, limits = audit.settings, audit.bundle.thresholds.model_dump()
    frames = sum(len(movie.records) for movie in audit.simulated)
    return {
        "Made by": command,
        "Bundle": f"{audit.bundle.id}, weights sha256 {audit.bundle.sha256}; thresholds "
        + ", ".join(f"{name} {value}" for name, value in limits.items()),
        "Size": f"{len(audit.simulated)} simulated movies, {frames} frames, seed {settings.seed}; photons "
        f"of every n-th frame are split, n = {settings.split_every} (0: never)",
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }
