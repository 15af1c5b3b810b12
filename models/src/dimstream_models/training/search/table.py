"""The tables of a search."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from dimstream_models.training.fitting.checkpoints import write_whole
from dimstream_models.training.search.ranking import Scored
from dimstream_models.training.search.space import PLACES, Value

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
    """Write runs, best first, as CSV; what is not known is empty.

    Parameters
    ----------
    runs : sequence of Scored
        Best first.
    path : Path
        Of the CSV.
    folder : Path
        Of the study: run folders are named from there.
    pixel_size_nm : float or None
        Of the validation fields.
    """
    rows = [_row(place, run, folder, pixel_size_nm) for place, run in enumerate(runs, 1)]
    write_whole(path, as_csv(COLUMNS, rows))


def told(value: Value) -> Cell:
    """Return a knob's value as tables tell it: an empty cell would mean that it is not known."""
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
        **{knob: told(value) for knob, value in scored.trial.setting.items()},
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
