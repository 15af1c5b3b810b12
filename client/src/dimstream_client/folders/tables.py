"""The tables of a folder: `flags.csv`, a row for each frame, and `summary.csv`, a row for each file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dimstream_client.file_streaming import flags_path
from dimstream_client.folders.record import Done
from dimstream_client.quality import Fractions, QualityMetrics, flat, flat_figures

FLAGS: Final = "flags.csv"
SUMMARY: Final = "summary.csv"
COUNTED: Final = ("ok", "suspect", "unjudged", "missing")
_FRACTIONS: Final = tuple(flat_figures(Fractions))
FLAG_COLUMNS: Final = (
    *("file", "frame", "t", "c", "z", "p", "t_acq", "status", "flag", "reason", "ssim_prev"),
    *(*_FRACTIONS, *flat_figures(QualityMetrics)),
)
SUMMARY_COLUMNS: Final = (
    *("file", "state", "output", "axes", "shape", "frames", *COUNTED, "suspect_since", "seconds"),
    *("model_sha256", "reason"),
)


@dataclass(frozen=True)
class FileState:
    """The state of a file.

    Parameters
    ----------
    state : {"done", "incomplete", "failed", "part of a set", "not reached"}
        ``incomplete``: some frames have no result.
    """

    file: str
    state: str
    reason: str = ""
    done: Done | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is missing."""
        return self.state in ("done", "part of a set")


def write_summary(path: Path, states: Iterable[FileState]) -> None:
    """Write the table with the state of each file.

    Raises
    ------
    OSError
    """
    _write(path, SUMMARY_COLUMNS, map(_summary_row, states))


def write_flags(path: Path, folder: Path, files: Iterable[Done]) -> None:
    """Write the table of the flags of all frames of these files, from the JSON lines next to their outputs.

    Raises
    ------
    OSError
    """
    rows = (_flag_row(done.file, record) for done in files for record in _records(folder, done))
    _write(path, FLAG_COLUMNS, rows)


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[Mapping[str, Any]]) -> None:
    unfinished = path.with_name(f".{path.name}.part")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    unfinished.replace(path)


def _summary_row(state: FileState) -> dict[str, Any]:
    row: dict[str, Any] = {"file": state.file, "state": state.state, "reason": state.reason}
    if (done := state.done) is not None:
        row |= {
            "output": done.out,
            "axes": done.axes,
            "shape": "x".join(map(str, done.shape)),
            "frames": done.frames,
            **{flag: done.counts.get(flag, 0) for flag in COUNTED},
            "suspect_since": done.suspect_since,
            "seconds": round(done.seconds, 1),
            "model_sha256": done.model_sha256,
        }
    return row


def _records(folder: Path, done: Done) -> Iterator[dict[str, Any]]:
    with flags_path(folder / done.out).open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _flag_row(file: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a frame, from its line in `OUT.flags.jsonl`."""
    quality, fractions = record.get("quality") or {}, record.get("fractions") or {}
    index = record.get("index") or {}
    return {
        "file": file,
        "frame": record["seq"],
        **{axis: index.get(axis) for axis in "tczp"},
        "t_acq": record.get("t_acq"),
        "status": record.get("status"),
        "flag": record.get("flag"),
        "reason": record.get("error") or record.get("reason"),
        "ssim_prev": record.get("ssim_prev"),
        **{part: fractions.get(part) for part in _FRACTIONS},
        **{name: _cell(value) for name, value in flat(QualityMetrics, quality).items()},
    }


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
