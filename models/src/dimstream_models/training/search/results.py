"""The files of a finished search in its folder: tables, pictures, a report.

FOLDER/
    trials.csv          every trial, best first best.csv            the best, trained to convergence, scored
    among themselves knobs.png           score against each setting losses.png          loss curves of all
    trials predictions.png     a validation field: noisy, restored by the best, truth report.html         all
    of these on one page
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dimstream_models.training.pairs.prepared import Prepared
from dimstream_models.training.search.ranking import Scored
from dimstream_models.training.search.report import draw_knobs, draw_losses, draw_predictions, render
from dimstream_models.training.search.screening import screened
from dimstream_models.training.search.space import PLACES, Value, with_setting
from dimstream_models.training.search.study import FileLock, Study
from dimstream_models.training.search.trial import run_restorer, validation_pairs
from dimstream_models.training.settings import Recipe
from dimstream_models.whole_files import write_whole

Cell = str | float | int | None

COLUMNS = (
    "rank",
    "trial",
    "state",
    *PLACES,
    "ssim",
    "mae",
    "resolution_px",
    "resolution_nm",
    "score_ssim",
    "score_mae",
    "score_resolution",
    "score",
    "reason",
    "seconds",
    "run",
)


def write_table(runs: Sequence[Scored], path: Path, *, folder: Path, pixel_size_nm: float | None) -> None:
    """Write runs, best first, as CSV; unknown values are empty.

    Parameters
    ----------
    runs : sequence of Scored
        Best first.
    path : Path
        Path of the CSV file.
    folder : Path
        Folder of the study; run folders are relative to it.
    pixel_size_nm : float or None
        Pixel size of the validation fields.
    """
    rows = [_row(place, run, folder, pixel_size_nm) for place, run in enumerate(runs, 1)]
    write_whole(path, as_csv(COLUMNS, rows))


def stated(value: Value) -> Cell:
    """Return a setting's value for a table, in which an empty cell means that it is unknown."""
    return "none" if value is None else value


def as_csv(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> bytes:
    """Return rows as the content of a CSV file; None is empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _row(place: int, scored: Scored, folder: Path, pixel_size_nm: float | None) -> dict[str, Cell]:
    outcome, score = scored.outcome, scored.score
    row: dict[str, Cell] = {
        "rank": place if score else None,
        "trial": scored.trial.number,
        "state": _state(scored),
        **{knob: stated(value) for knob, value in scored.trial.setting.items()},
        "run": scored.run.relative_to(folder).as_posix(),
    }
    if outcome:
        row |= {"reason": outcome.reason, "seconds": round(outcome.seconds, 1)}
    if outcome and outcome.figures and score:
        row |= {
            **outcome.figures.model_dump(),
            "resolution_nm": _product(outcome.figures.resolution_px, pixel_size_nm),
            "score_ssim": score.ssim,
            "score_mae": score.mae,
            "score_resolution": score.resolution,
            "score": score.total,
        }
    return row


def _product(length_px: float | None, pixel_size_nm: float | None) -> float | None:
    return None if length_px is None or pixel_size_nm is None else length_px * pixel_size_nm


def _state(scored: Scored) -> str:
    if scored.outcome is None:
        return "running"
    return "failed" if scored.score is None else "succeeded"


@dataclass(frozen=True)
class Results:
    """Results of a search, best first: its trials, and the best of them trained to convergence."""

    screened: tuple[Scored, ...]
    retrained: tuple[Scored, ...]


def write_trials(study: Study, *, pixel_size_nm: float | None) -> None:
    """Write the table of all trials so far."""
    with _writing(study.folder):
        path = study.folder / "trials.csv"
        write_table(screened(study), path, folder=study.folder, pixel_size_nm=pixel_size_nm)


def write_results(results: Results, study: Study, prepared: Prepared, *, device: str) -> None:
    """Write tables, pictures and report of a finished search."""
    write_trials(study, pixel_size_nm=prepared.pixel_size_nm)
    pictures = {
        "knobs.png": draw_knobs(results.screened),
        "losses.png": draw_losses(results.screened),
    }
    shown = [run for run in results.retrained or results.screened[:5] if run.score]
    if shown:
        pictures["predictions.png"] = _predictions(study.recipe, shown, prepared, device)
    with _writing(study.folder):
        best = study.folder / "best.csv"
        write_table(results.retrained, best, folder=study.folder, pixel_size_nm=prepared.pixel_size_nm)
        for name, content in pictures.items():
            write_whole(study.folder / name, content)
        page = render(study.recipe, results.screened, results.retrained, prepared, pictures)
        write_whole(study.folder / "report.html", page.encode())


def _predictions(recipe: Recipe, runs: Sequence[Scored], prepared: Prepared, device: str) -> bytes:
    """Return a PNG of the validation field with the most light."""
    noisy, truth = max(validation_pairs(prepared), key=lambda pair: float(pair[1].mean()))
    restored = {
        _title(place, run): run_restorer(with_setting(recipe, run.trial.setting), run.run, device=device)(
            noisy
        )
        for place, run in enumerate(runs, 1)
    }
    return draw_predictions(noisy, restored, truth)


def _title(place: int, run: Scored) -> str:
    words = run.trial.name.split("_")
    return f"{place}. {' '.join(words[:-4])}\n{' '.join(words[-4:])}"


def _writing(folder: Path) -> FileLock:
    """Return the lock for writing tables and pictures, since several processes may finish at the same
    time."""
    return FileLock(folder / "locks" / "results")
