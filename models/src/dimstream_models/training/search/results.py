"""What a search leaves in its folder beside the runs: tables, pictures, a report.

FOLDER/
    trials.csv          every trial, best first
    best.csv            the best, trained to convergence, scored among themselves
    knobs.png           score against each knob
    losses.png          loss curves of all trials
    predictions.png     a validation field: noisy, as the best restore it, truth
    report.html         all of it on one page
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dimstream_models.training.fitting.checkpoints import write_whole
from dimstream_models.training.pairs.prepared import Prepared
from dimstream_models.training.search.locks import FileLock
from dimstream_models.training.search.pictures import draw_knobs, draw_losses, draw_predictions
from dimstream_models.training.search.ranking import Scored
from dimstream_models.training.search.report import render
from dimstream_models.training.search.screening import screened
from dimstream_models.training.search.space import with_setting
from dimstream_models.training.search.study import Study
from dimstream_models.training.search.table import write_table
from dimstream_models.training.search.trial import run_restorer, validation_pairs
from dimstream_models.training.settings import Recipe


@dataclass(frozen=True)
class Results:
    """What a search has found, best first: its trials, and the best of them trained to convergence."""

    screened: tuple[Scored, ...]
    retrained: tuple[Scored, ...]


def write_trials(study: Study, *, pixel_size_nm: float | None) -> None:
    """Write the table of trials as they stand."""
    with _writing(study.folder):
        path = study.folder / "trials.csv"
        write_table(screened(study), path, folder=study.folder, pixel_size_nm=pixel_size_nm)


def write_results(results: Results, study: Study, prepared: Prepared, *, device: str) -> None:
    """Write tables, pictures and report of a search that has finished."""
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
    """Draw the validation field with the most light, where there is something to see."""
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
    """Return the lock of who writes tables and pictures: processes that finish together take turns."""
    return FileLock(folder / "locks" / "results")
