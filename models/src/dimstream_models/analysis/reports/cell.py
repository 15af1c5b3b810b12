"""One analysed cell, read from the folder of a finished `dimstream-analyse run`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_models.analysis.collating import FRAMES
from dimstream_models.analysis.errors import InvalidResults
from dimstream_models.analysis.graph import GraphSettings
from dimstream_models.analysis.movies import OK
from dimstream_models.analysis.summary import SUMMARY, Lifetimes
from dimstream_models.analysis.tables import read_columns
from dimstream_models.analysis.uncertainty import Mean
from dimstream_models.er_figures import FIGURES

HOURS_FROM_MIN: Final = 180.0
"""Movies longer than this, minutes, are drawn over hours."""


@dataclass(frozen=True)
class TimeAxis:
    """The acquisition time of each frame, and the unit of the time axis.

    Parameters
    ----------
    at : (T,) float64
        Time of every frame, in `unit`.
    unit : {"hours", "minutes", "frame"}
        "frame" if the time of any frame is unknown.
    """

    at: NDArray[np.float64]
    unit: str

    def text(self, frame: int) -> str:
        """Return the time of a frame as text."""
        if self.unit == "frame":
            return f"frame {frame}"
        minutes = self.at[frame] * (60 if self.unit == "hours" else 1)
        hours, rest = divmod(round(minutes * 60), 3600)
        return f"{hours} h {rest // 60:02} min" if hours else f"{rest // 60} min {rest % 60:02} s"


@dataclass(frozen=True)
class FlagSpan:
    """Successive frames with the same flag other than ok.

    Parameters
    ----------
    first, last : int
    flag : str
    """

    first: int
    last: int
    flag: str


@dataclass(frozen=True)
class AnalysedCell:
    """One cell, as stored in its folder.

    Parameters
    ----------
    name : str
        Name of the folder.
    movie : Path
        The denoised frames that were analysed.
    pixel_um : float or None
    segmenter : str or None
        Its text; None when another program made the labels.
    labels : str
        How the labels were made, for people.
    graph : GraphSettings
    analysed, pairs : int
        Number of frames, and of frames that were compared with the one before.
    left_out : dict of str to int
        Number of frames by flag.
    area : float
        Area of a frame, µm² or px.
    frames : dict of str to list
        Columns of the table `frames`.
    means, rates : dict of str to Mean
    lifetimes : dict of str to Lifetimes
    """

    name: str
    folder: Path
    movie: Path
    pixel_um: float | None
    segmenter: str | None
    labels: str
    graph: GraphSettings
    analysed: int
    pairs: int
    left_out: Mapping[str, int]
    area: float
    frames: Mapping[str, list[Any]]
    means: Mapping[str, Mean]
    rates: Mapping[str, Mean]
    lifetimes: Mapping[str, Lifetimes]

    def __len__(self) -> int:
        return len(self.frames["frame"])

    @property
    def scaled(self) -> bool:
        """Whether figures are in µm."""
        return self.pixel_um is not None

    def series(self, figure: str) -> NDArray[np.float64]:
        """Return a figure of every frame by its name, (T,); nan where it is missing."""
        values = self.frames[FIGURES[figure].column(scaled=self.scaled)]
        return np.array([np.nan if value is None else value for value in values], np.float64)

    def mean(self, figure: str) -> Mean:
        """Return the mean of a figure over frames by its name."""
        return self.means[FIGURES[figure].column(scaled=self.scaled)]

    def time_axis(self) -> TimeAxis:
        """Return the time axis: hours or minutes, or frame numbers."""
        times = self.frames["time_s"]
        if any(time is None for time in times):
            return TimeAxis(np.arange(len(self), dtype=np.float64), "frame")
        minutes = np.array(times, np.float64) / 60
        long = bool(len(minutes)) and minutes[-1] > HOURS_FROM_MIN
        return TimeAxis(minutes / 60 if long else minutes, "hours" if long else "minutes")

    def analysed_frames(self) -> list[int]:
        """Return the numbers of the frames that were analysed."""
        return [n for n, analysed in enumerate(self.frames["analysed"]) if analysed]

    def flag_spans(self) -> Iterator[FlagSpan]:
        """Yield the frames whose flag is not ok; successive ones together."""
        first = 0
        flags = [flag or OK for flag in self.frames["flag"]]
        for n, flag in enumerate(flags):
            if n + 1 == len(flags) or flags[n + 1] != flag:
                if flag != OK:
                    yield FlagSpan(first, n, flag)
                first = n + 1


def read_cell(folder: Path, *, movie: Path | None = None) -> AnalysedCell:
    """Return the cell in a folder of `dimstream-analyse run`.

    Parameters
    ----------
    movie : Path, optional
        The present path of the denoised frames, if they were moved.

    Raises
    ------
    InvalidResults
        When the folder holds no finished analysis, or the movie is not where it was.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        frames = read_columns(folder / f"{FRAMES}.parquet")
        cell = _cell(folder, summary, frames, movie)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidResults(
            f"{folder}: expected a folder that `dimstream-analyse run` of this version finished, got:"
            f" {error!r}; give the same `run` again"
        ) from error
    _check_movie(cell, summary["movie"])
    return cell


def _cell(
    folder: Path, summary: Mapping[str, Any], frames: Mapping[str, list[Any]], movie: Path | None
) -> AnalysedCell:
    means, rates = (
        {name: Mean(**mean) for name, mean in summary[kind].items()} for kind in ("means", "rates")
    )
    return AnalysedCell(
        name=folder.resolve().name,
        folder=folder,
        movie=Path(summary["movie_path"]) if movie is None else movie,
        pixel_um=summary["pixel_um"],
        segmenter=summary["segmenter"],
        labels=summary["labelled_by"],
        graph=GraphSettings(**summary["settings"]["frame"]["graph"]),
        analysed=summary["analysed"],
        pairs=summary["pairs"],
        left_out=summary["left_out"],
        area=summary["area"],
        frames=frames,
        means=means,
        rates=rates,
        lifetimes={name: Lifetimes(**life) for name, life in summary["lifetimes"].items()},
    )


def _check_movie(cell: AnalysedCell, analysed: Mapping[str, Any]) -> None:
    if not cell.movie.is_file():
        raise InvalidResults(
            f"{cell.folder}: expected the movie that was analysed at {cell.movie}, found nothing there: "
            "give its path (--movie)"
        )
    if (found := cell.movie.stat().st_size) != analysed["bytes"]:
        raise InvalidResults(
            f"{cell.movie}: expected the movie that was analysed, of {analysed['bytes']} bytes, got one of "
            f"{found}: give its path (--movie)"
        )
