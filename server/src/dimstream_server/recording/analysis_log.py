"""`analysis.csv` next to a recording: the figures of an analysis, one line per frame, in order of arrival.

Figures arrive later than their frame, some after the recording was finalised, and most frames may have none.
So they have a separate file, which no checksum covers and for which nothing waits.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dimstream_models.er_figures import FIGURES, Figure
from dimstream_server.recording.description import DESCRIPTION

ANALYSIS_LOG: Final = "analysis.csv"
MOST_WAITING: Final = 256
"""Most lines that wait to be written; beyond that, figures are refused."""
_MOST_FILES: Final = 9
_MOST_KNOWN: Final = 64
_PLACED: Final = ("seq", "c", "z", "p", "flag", "analysed_at", "analysis")
_BLOCK: Final = 65_536
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnalysedFrame:
    """Figures of an analysed frame.

    Parameters
    ----------
    plane : (int, int, int)
        Channel, z, position.
    flag : str
        Flag of the frame.
    found_at : float
        Time at which its figures arrived, seconds since 1970.
    analysis : str
        Description of the analysis, for people.
    figures : mapping of str to float or None
        By the names of `er_figures.FIGURES`, in px.
    """

    seq: int
    plane: tuple[int, int, int]
    flag: str
    found_at: float
    analysis: str
    figures: Mapping[str, float | None]


class AnalysisLog:
    """Writes to the recordings of a server, in one thread. Only the sender of the figures waits for it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="analysis-log")
        self._waiting = 0
        self._files: OrderedDict[Path, Path] = OrderedDict()  # by folder; only for the thread

    @property
    def is_full(self) -> bool:
        """Whether too many lines are waiting to accept more."""
        return self._waiting >= MOST_WAITING

    def append(self, folder: Path, found: AnalysedFrame, pixel_um: float | None) -> Future[None]:
        """Append a line to the recording in `folder`; the future raises OSError if this fails.

        Parameters
        ----------
        pixel_um : float or None
            Side of a pixel in the recording; None: unknown, figures are in px.
        """
        self._waiting += 1
        written = self._thread.submit(self._append, folder, found, pixel_um)
        written.add_done_callback(self._done)
        return written

    def close(self) -> None:
        """Let the thread end after it has written all waiting lines."""
        self._thread.shutdown(wait=False)

    def _done(self, _: Future[None]) -> None:
        self._waiting -= 1

    # --- the thread

    def _append(self, folder: Path, found: AnalysedFrame, pixel_um: float | None) -> None:
        try:
            path = self._file(folder, _columns(pixel_um))
            with path.open("ab") as file:
                file.write(_line(_cells(found, pixel_um)))
        except OSError:
            self._files.pop(folder, None)  # an incomplete line is removed before the next one is written
            raise

    def _file(self, folder: Path, columns: list[str]) -> Path:
        if folder not in self._files:
            self._files[folder] = _opened(folder, _line(columns))
        self._files.move_to_end(folder)
        while len(self._files) > _MOST_KNOWN:
            self._files.popitem(last=False)
        return self._files[folder]


def read_analysis(folder: Path, pixel_um: float | None) -> list[AnalysedFrame]:
    """Return the lines of a recording, in order of arrival, without incomplete lines.

    Raises
    ------
    OSError
    """
    found: list[AnalysedFrame] = []
    for path in _paths(folder):
        if not path.exists():
            break
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                try:
                    found.append(_frame(row, pixel_um))
                except (ValueError, KeyError, TypeError) as error:
                    reason = f"{path.name}: {error}"
                    _log.warning("a line is ignored event=unreadable folder=%s reason=%r", folder, reason)
    return found


def _paths(folder: Path) -> list[Path]:
    """Return the files of figures; when columns change with a new version, another file follows."""
    stem, suffix = ANALYSIS_LOG.split(".")
    return [folder / ANALYSIS_LOG, *(folder / f"{stem}-{n}.{suffix}" for n in range(2, _MOST_FILES + 1))]


def _opened(folder: Path, head: bytes) -> Path:
    """Return the file of a recording with these columns; it is created, or an incomplete line removed.

    Raises
    ------
    OSError
    """
    if not (folder / DESCRIPTION).exists():
        raise OSError(f"expected the recording {folder.name}, but it was deleted")
    for path in _paths(folder):
        try:
            with path.open("xb") as file:
                file.write(head)
            return path
        except FileExistsError:
            if _continued(path, head):
                return path
    raise OSError(
        f"expected at most {_MOST_FILES} files {ANALYSIS_LOG} in {folder.name}, got more; remove some"
    )


def _continued(path: Path, head: bytes) -> bool:
    """Return whether a file begins with this line; if so, remove an incomplete last line."""
    with path.open("r+b") as file:
        found = file.readline(len(head))
        if found != head and not head.startswith(found):
            return False
        if found != head:  # its first line was being written
            file.seek(0)
            file.write(head)
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _BLOCK))
        rest = file.read()
        if not rest.endswith(b"\n"):
            cut = end - len(rest) + rest.rfind(b"\n") + 1
            file.truncate(cut)
            _log.warning(
                "an incomplete line was removed event=analysis_cut path=%s bytes=%d", path, end - cut
            )
    return True


def _columns(pixel_um: float | None) -> list[str]:
    return [*_PLACED, *(figure.column(scaled=pixel_um is not None) for figure in FIGURES.values())]


def _cells(found: AnalysedFrame, pixel_um: float | None) -> list[object]:
    figures = [_cell(figure, found.figures.get(name), pixel_um) for name, figure in FIGURES.items()]
    return [found.seq, *found.plane, found.flag, f"{found.found_at:.3f}", found.analysis, *figures]


def _cell(figure: Figure, value: float | None, pixel_um: float | None) -> str:
    if value is None:
        return ""
    return str(int(value)) if figure.counted else repr(value * figure.factor(pixel_um))


def _line(cells: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _frame(row: Mapping[str, str], pixel_um: float | None) -> AnalysedFrame:
    scaled = pixel_um is not None
    figures = {
        name: _number(row.get(one.column(scaled=scaled)), one, pixel_um) for name, one in FIGURES.items()
    }
    return AnalysedFrame(
        seq=int(row["seq"]),
        plane=(int(row["c"]), int(row["z"]), int(row["p"])),
        flag=row["flag"],
        found_at=float(row["analysed_at"]),
        analysis=row["analysis"],
        figures=figures,
    )


def _number(text: str | None, figure: Figure, pixel_um: float | None) -> float | None:
    return None if not text else float(text) / figure.factor(pixel_um)
