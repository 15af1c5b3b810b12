"""`analysis.csv` beside a recording: what an analysis found of its frames, a line each, in order of arrival.

Figures come later than their frame, some after the recording was made final, and most frames may have none.
So they have a file of their own, which no checksum covers and on which nothing waits.
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
"""Lines that wait to be written; beyond, no more figures are taken."""
_MOST_FILES: Final = 9
_MOST_KNOWN: Final = 64
_PLACED: Final = ("seq", "c", "z", "p", "flag", "analysed_at", "analysis")
_BLOCK: Final = 65_536
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnalysedFrame:
    """What an analysis found of a frame.

    Parameters
    ----------
    plane : (int, int, int)
        Channel, z, position.
    flag : str
        The frame's.
    found_at : float
        When its figures came, seconds since 1970.
    analysis : str
        By what it was analysed, for people.
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
    """Writes to the recordings of a server, on one thread. Nobody waits for it but who sent the figures."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="analysis-log")
        self._waiting = 0
        self._files: OrderedDict[Path, Path] = OrderedDict()  # of folders; the thread's

    @property
    def is_full(self) -> bool:
        """Whether so many lines wait that no more are taken."""
        return self._waiting >= MOST_WAITING

    def append(self, folder: Path, found: AnalysedFrame, pixel_um: float | None) -> Future[None]:
        """Append a line to the recording in `folder`; the future raises OSError where that cannot be done.

        Parameters
        ----------
        pixel_um : float or None
            Side of a pixel, of all frames of the recording; None: not known, figures are in px.
        """
        self._waiting += 1
        written = self._thread.submit(self._append, folder, found, pixel_um)
        written.add_done_callback(self._done)
        return written

    def close(self) -> None:
        """Let the thread end once it has written what waits."""
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
            self._files.pop(folder, None)  # half a line is cut before the next one
            raise

    def _file(self, folder: Path, columns: list[str]) -> Path:
        if folder not in self._files:
            self._files[folder] = _opened(folder, _line(columns))
        self._files.move_to_end(folder)
        while len(self._files) > _MOST_KNOWN:
            self._files.popitem(last=False)
        return self._files[folder]


def read_analysis(folder: Path, pixel_um: float | None) -> list[AnalysedFrame]:
    """What was written of a recording, in order of arrival; lines that are not whole are left out.

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
                    _log.warning("a line is left out event=unreadable folder=%s reason=%r", folder, reason)
    return found


def _paths(folder: Path) -> list[Path]:
    """Where figures are: another file follows where the columns change, as a new version has others."""
    stem, suffix = ANALYSIS_LOG.split(".")
    return [folder / ANALYSIS_LOG, *(folder / f"{stem}-{n}.{suffix}" for n in range(2, _MOST_FILES + 1))]


def _opened(folder: Path, head: bytes) -> Path:
    """The file of a recording that has these columns; it is made, or half a line of it is cut.

    Raises
    ------
    OSError
    """
    if not (folder / DESCRIPTION).exists():
        raise OSError(f"there is no recording {folder.name} any more")
    for path in _paths(folder):
        try:
            with path.open("xb") as file:
                file.write(head)
            return path
        except FileExistsError:
            if _continued(path, head):
                return path
    raise OSError(f"expected at most {_MOST_FILES} files {ANALYSIS_LOG} in {folder.name}; remove some")


def _continued(path: Path, head: bytes) -> bool:
    """Whether a file begins with this line; if so, it ends with a whole one afterwards."""
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
            _log.warning("an incomplete line was cut event=analysis_cut path=%s bytes=%d", path, end - cut)
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
