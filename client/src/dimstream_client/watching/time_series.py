"""Find the files of one time series: their names differ only in the time number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from dimstream_client.folders.outputs import stem_of_path

TIME_LABELS: Final = frozenset({"t", "time", "timepoint", "tp", "frame", "f"})
"""Labels directly before a number of time points."""
OTHER_LABELS: Final = frozenset(
    {
        *("c", "ch", "channel", "w", "wl", "z", "slice", "plane", "p", "pos", "position"),
        *("s", "series", "scene", "xy", "m", "tile", "well", "r", "region", "row", "col"),
    }
)
"""Labels directly before a number of something else."""
NO_SERIES: Final = "none"
_STAMP: Final = re.compile(
    r"(?<![0-9])(?:[0-9]{1,2}h[0-9]{1,2}m[0-9]{1,2}(?:s[0-9]+[mu]s|s)?"
    r"|(?:19|20)[0-9]{2}[-_.]?[0-9]{2}[-_.]?[0-9]{2}[T _.-]+[0-9]{2}[-_.h]?[0-9]{2}[-_.m]?[0-9]{2}"
    r"(?:[-_.,][0-9]{3,6})?)(?![0-9])"
)
"""A time of day, alone (12h40m31s) or after a date (2026-11-30_12-40-31)."""
_NUMBER: Final = re.compile(r"([A-Za-z]*)([0-9]+)")


@dataclass(frozen=True)
class Place:
    """The series of a file and its time number.

    Parameters
    ----------
    series : str
        Name of the time series: the file name with ``#`` instead of the time number.
    number : int or None
        The time number; None: the file is a series of its own.
    """

    series: str
    number: int | None = None


class NamingRule:
    """Finds the time number in file names.

    It is the last number with a label of `TIME_LABELS`; else the last one without a label of `OTHER_LABELS`;
    else a time of day. A label is all letters directly before the number: ``ch`` in ``cell2_t07_ch1``.
    Numbers in a time of day or its date are not used otherwise.

    Parameters
    ----------
    pattern : str, optional
        A regular expression instead, whose one group is the time number; ``none``: every file is a series of
        its own.

    Raises
    ------
    ValueError
        When the pattern is not valid.
    """

    def __init__(self, pattern: str | None = None) -> None:
        self._pattern: re.Pattern[str] | None = None
        self._is_off = pattern == NO_SERIES
        if pattern is not None and not self._is_off:
            try:
                self._pattern = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
            if self._pattern.groups != 1:
                raise ValueError(
                    f"{pattern!r} has {self._pattern.groups} groups, expected one, around the time number: "
                    "such as _t([0-9]+)"
                )

    def place_of(self, name: str) -> Place:
        """Return the series and the time number of a file.

        Parameters
        ----------
        name : str
            Relative to the folder, with ``/``.
        """
        found = None if self._is_off else self._span(PurePosixPath(stem_of_path(name)).name)
        if found is None:
            return Place(name)
        begin, end = found
        path = PurePosixPath(name)
        series = path.with_name(f"{path.name[:begin]}#{path.name[end:]}").as_posix()
        return Place(series, int(re.sub("[^0-9]", "", path.name[begin:end])))

    def _span(self, stem: str) -> tuple[int, int] | None:
        """Return the position of the time number in a name."""
        if self._pattern is not None:
            match = self._pattern.search(stem)
            return match.span(1) if match and match.group(1).isdecimal() else None
        stamps = [match.span() for match in _STAMP.finditer(stem)]
        numbers = [
            (match.group(1).lower(), match.span(2))
            for match in _NUMBER.finditer(stem)
            if not any(begin <= match.start(2) < end for begin, end in stamps)
        ]
        timed = [span for label, span in numbers if label in TIME_LABELS]
        plain = [span for label, span in numbers if label not in OTHER_LABELS]
        chosen = timed or plain or stamps
        return chosen[-1] if chosen else None
