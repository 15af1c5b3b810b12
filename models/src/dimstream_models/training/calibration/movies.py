"""Recorded movies for a calibration: of a sample, and of the detector alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from tqdm import tqdm

from dimstream_models.bundle import SsimSettings
from dimstream_models.training.calibration.threshold import FlagThresholds, Movie, Origin, calibrate_flag
from dimstream_models.training.calibration.windows import WindowThresholds, measure_windows
from dimstream_models.training.errors import CannotCalibrate, InvalidPairs
from dimstream_models.training.pairs.images import ImageFile, read_planes
from dimstream_models.training.prediction import Denoise


@dataclass(frozen=True)
class Movies:
    """Files of photon counts, each one movie (T, H, W); they are read one by one when needed."""

    signal: Sequence[Path] = ()
    dark: Sequence[Path] = ()

    def threshold(
        self, denoise: Denoise, scale: SsimSettings, *, false_alarm_rate: float
    ) -> FlagThresholds | None:
        """Return the thresholds between both kinds; None without movies of a sample.

        Raises
        ------
        CannotCalibrate
            When there are only signal movies, a movie is too short, or the kinds cannot be distinguished.
        InvalidPairs
            When a file does not contain planes of counts.
        """
        if not self.signal:
            return None
        if not self.dark:
            raise CannotCalibrate(
                "expected a dark movie in addition to the signal movie, got none: record the detector "
                "without sample"
            )
        origin = Origin(
            movies="recorded movies of a sample and of recorded movies without one",
            note=self.names,
        )
        signal, dark = _read(self.signal, "signal movies"), _read(self.dark, "dark movies")
        return calibrate_flag(signal, dark, denoise, scale, false_alarm_rate=false_alarm_rate, origin=origin)

    def frames(self, most: int = 4) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
        """Return evenly chosen frames (H, W) of each movie, with signal and without.

        Parameters
        ----------
        most : int
            Most frames of one movie.
        """
        signal, dark = (
            [frame for movie in _read(paths, what) for frame in movie[:: -(-len(movie) // most)]]
            for paths, what in ((self.signal, "signal frames"), (self.dark, "dark frames"))
        )
        return signal, dark

    @property
    def names(self) -> str:
        """File names and the beginnings of their hashes, for a record."""
        return f"{_named(self.signal, 'signal')}; {_named(self.dark, 'dark')}"

    def windows(self, *, signal_min: float, rate: float) -> WindowThresholds | None:
        """Return thresholds of window sums from the dark movies; None without dark movies.

        Parameters
        ----------
        signal_min, rate : float
            As in `measure_windows`.
        """
        if not self.dark:
            return None
        return measure_windows(
            _read(self.dark, "window sums"),
            least=signal_min,
            rate=rate,
            note=_named(self.dark, "dark"),
        )


def _read(paths: Sequence[Path], what: str) -> Iterator[Movie]:
    for path in tqdm(paths, desc=what, unit="movie"):
        yield read_planes(ImageFile(path)).values


def _named(paths: Sequence[Path], kind: str) -> str:
    for path in paths:
        if not path.is_file():
            raise InvalidPairs(f"{path}: expected a {kind} movie, but there is no such file")
    files = ", ".join(f"{path.name} (sha256 {ImageFile(path).sha256()[:16]})" for path in paths)
    return f"{kind}: {files}"
