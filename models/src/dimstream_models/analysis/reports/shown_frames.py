"""The frames of a cell that a report shows: their numbers, pixels and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from dimstream_models.analysis.collating import LABELS
from dimstream_models.analysis.errors import InvalidResults
from dimstream_models.analysis.labels import Labels
from dimstream_models.analysis.movies import opened
from dimstream_models.analysis.reports.cell import AnalysedCell

SHOWN: Final = 4
BLACK, WHITE = 0.001, 0.999
"""Quantiles of the shown frames that are black and white in pictures."""


@dataclass(frozen=True)
class ShownFrame:
    """A frame that is shown.

    Parameters
    ----------
    number : int
    image : (H, W)
        Denoised frame, in the movie's unit.
    labels : (H, W) uint8
    """

    number: int
    image: NDArray[Any]
    labels: Labels


def choose_frames(
    cell: AnalysedCell, *, frames: Sequence[int] = (), times_min: Sequence[float] = ()
) -> list[int]:
    """Return the numbers of the frames to show, in order: the requested ones, or four spread over the movie.

    Parameters
    ----------
    frames : sequence of int
        Numbers from 0 on.
    times_min : sequence of float
        Minutes from the start; the nearest analysed frame is shown.

    Raises
    ------
    InvalidResults
        When a frame was not analysed, or times are requested but unknown.
    """
    analysed = cell.analysed_frames()
    if unknown := sorted(set(frames) - set(analysed)):
        raise InvalidResults(
            f"{cell.folder}: expected frames that were analysed, got {', '.join(map(str, unknown[:8]))} of"
            f" {len(cell)} frames from 0 on: choose others (--frames)"
        )
    if times_min:
        times = [cell.frames["time_s"][n] for n in analysed]
        if None in times:
            raise InvalidResults(
                f"{cell.folder}: expected times of all frames, got some without: choose frames by their"
                " numbers (--frames)"
            )
        nearest = (int(np.abs(np.array(times) / 60 - at).argmin()) for at in times_min)
        return sorted({analysed[each] for each in nearest})
    if frames:
        return sorted(set(frames))
    places = np.linspace(0, len(analysed) - 1, SHOWN).round().astype(int)
    return sorted({analysed[place] for place in places})


def read_frames(cell: AnalysedCell, numbers: Sequence[int]) -> list[ShownFrame]:
    """Return frames with their labels, as the analysis stored them.

    Raises
    ------
    InvalidMovie, InvalidResults
    """
    path = cell.folder / LABELS
    with opened(cell.movie) as movie, tifffile.TiffFile(path) as labels:
        if len(labels.pages) != len(movie):
            raise InvalidResults(
                f"{path}: expected the labels of {len(movie)} frames, got {len(labels.pages)}: analyse the"
                " movie again"
            )
        return [ShownFrame(n, movie.read(n), np.asarray(labels.pages[n].asarray())) for n in numbers]


def contrast_of(shown: Sequence[ShownFrame]) -> tuple[float, float]:
    """Return the values of black and white, the same for all frames that are shown."""
    values = np.concatenate([frame.image.ravel() for frame in shown])
    black, white = np.quantile(values, [BLACK, WHITE])
    return float(black), float(max(white, black + 1e-6))
