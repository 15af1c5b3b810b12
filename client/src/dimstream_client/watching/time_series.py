"""Which files are time points of one series: those whose names differ in their time number alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from dimstream_client.folders.outputs import stem_of_path

TIME_LABELS: Final = frozenset({"t", "time", "timepoint", "tp", "frame", "f"})
"""Letters right before a number that say that it counts time points."""
OTHER_LABELS: Final = frozenset(
    {
        *("c", "ch", "channel", "w", "wl", "z", "slice", "plane", "p", "pos", "position"),
        *("s", "series", "scene", "xy", "m", "tile", "well", "r", "region", "row", "col"),
    }
)
"""Letters right before a number that say that it counts something else."""
NO_SERIES: Final = "none"
_NUMBER: Final = re.compile(r"([A-Za-z]*)([0-9]+)")


@dataclass(frozen=True)
class Place:
    """Where a file belongs.

    Parameters
    ----------
    series : str
        Name of the time series: that of the file, with ``#`` in the place of its time number.
    number : int or None
        The time number; None: the file is a series of its own.
    """

    series: str
    number: int | None = None


class NamingRule:
    """Finds the time number in the names of files.

    It is the last number with a label of `TIME_LABELS`; else the last one without a label of
    `OTHER_LABELS`. A label is all letters right before the number: ``ch`` of ``cell2_t07_ch1``.

    Parameters
    ----------
    pattern : str, optional
        A regular expression instead, whose one group is the time number; ``none``: every file is alone.

    Raises
    ------
    ValueError
        The pattern is none.
    """

    def __init__(self, pattern: str | None = None) -> None:
        self._pattern: re.Pattern[str] | None = None
        self._is_off = pattern == NO_SERIES
        if pattern is not None and not self._is_off:
            try:
                self._pattern = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
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
        return Place(series, int(path.name[begin:end]))

    def _span(self, stem: str) -> tuple[int, int] | None:
        """Where the time number stands in a name."""
        if self._pattern is not None:
            match = self._pattern.search(stem)
            return match.span(1) if match and match.group(1).isdecimal() else None
        numbers = [(match.group(1).lower(), match.span(2)) for match in _NUMBER.finditer(stem)]
        timed = [span for label, span in numbers if label in TIME_LABELS]
        plain = [span for label, span in numbers if label not in OTHER_LABELS]
        chosen = timed or plain
        return chosen[-1] if chosen else None
