"""The contents of a side-by-side movie: raw and denoised frames, and the findings in them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray

from dimstream_models.analysis.collating import LABELS, LEFT_OUT
from dimstream_models.analysis.errors import InvalidMovie
from dimstream_models.analysis.labels import Labels
from dimstream_models.analysis.movies import OK, FrameRecord, Movie, opened

RAW: Final = "raw.ome.tif"
SAMPLED: Final = 32
BLACK, WHITE = 0.001, 0.999
"""Quantiles of sampled frames that are black and white in the movie."""


@dataclass(frozen=True)
class Contrast:
    """Values of black and white, the same for a whole movie."""

    black: float
    white: float

    def grey(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        """Return an image (H, W) as grey values, (H, W) uint8."""
        share = (image.astype(np.float32) - self.black) / (self.white - self.black)
        return np.asarray(np.rint(255 * np.clip(share, 0, 1)), np.uint8)


@dataclass(frozen=True)
class Pictures:
    """One frame in every form that is shown.

    Parameters
    ----------
    record : FrameRecord
    raw : (H, W) or None
    denoised : (H, W)
    labels : (H, W) uint8 or None
        None without an analysis, and for frames that it left out.
    """

    record: FrameRecord
    raw: NDArray[Any] | None
    denoised: NDArray[Any]
    labels: Labels | None


class Sources:
    """The open files of one movie; a context manager.

    Parameters
    ----------
    movie : Movie
        The denoised movie.
    raw : Path, optional
    cell : Path, optional
        Folder of its analysis.

    Raises
    ------
    InvalidMovie
        When they do not have the same frames.
    """

    def __init__(self, movie: Movie, *, raw: Path | None = None, cell: Path | None = None) -> None:
        self._movie = movie
        self._files = ExitStack()
        with ExitStack() as files:
            self._denoised = files.enter_context(opened(movie.path))
            self._raw = None if raw is None else files.enter_context(opened(raw))
            if self._raw is not None:
                self._check(raw, len(self._raw), self._raw.frame_shape)
            self._labels = None
            if cell is not None:
                self._labels = files.enter_context(_labels_of(cell))
                self._check(cell / LABELS, len(self._labels.pages), self._labels.pages[0].shape)
            self._files = files.pop_all()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of pictures of each frame, in order."""
        raw, found = ("raw",) * (self._raw is not None), ("found",) * (self._labels is not None)
        return (*raw, "denoised", *found)

    def read(self, number: int) -> Pictures:
        """Return one frame.

        Raises
        ------
        InvalidMovie
        """
        record = self._movie.records[number]
        labels = None
        if self._labels is not None:
            page = np.asarray(self._labels.pages[number].asarray())
            labels = None if page.max(initial=0) == LEFT_OUT else page
        raw = None if self._raw is None else self._raw.read(number)
        return Pictures(record, raw, self._denoised.read(number), labels)

    def contrasts(self, numbers: Sequence[int]) -> dict[str, Contrast]:
        """Return the contrast of raw and denoised frames, from a sample of the frames that are shown.

        Frames with the flag ok, or without a flag, are used if there are any.
        """
        trusted = [n for n in numbers if self._movie.records[n].flag in ("", OK)] or list(numbers)
        places = np.unique(np.linspace(0, len(trusted) - 1, SAMPLED).round().astype(int))
        stacks = {"raw": self._raw, "denoised": self._denoised}
        return {
            kind: _contrast([stack.read(trusted[place]) for place in places])
            for kind, stack in stacks.items()
            if stack is not None
        }

    def close(self) -> None:
        """Close all files."""
        self._files.close()

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check(self, path: Path | None, frames: int, shape: tuple[int, ...]) -> None:
        if frames != len(self._movie) or tuple(shape) != self._movie.shape:
            raise InvalidMovie(
                f"{path}: expected {len(self._movie)} frames of {self._movie.shape}, as {self._movie.path}"
                f" has, got {frames} of {tuple(shape)}: give files of the same movie"
            )


def _labels_of(cell: Path) -> tifffile.TiffFile:
    path = cell / LABELS
    if not path.is_file():
        raise InvalidMovie(
            f"{cell}: expected a folder that `dimstream-analyse run` finished, got no {LABELS}"
        )
    return tifffile.TiffFile(path)


def _contrast(images: Sequence[NDArray[Any]]) -> Contrast:
    values = np.concatenate([image.ravel() for image in images])
    black, white = (float(each) for each in np.quantile(values, [BLACK, WHITE]))
    return Contrast(black, max(white, black + 1e-6))
