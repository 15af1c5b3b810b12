"""Finished files in the order of their series, and the names of their outputs."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from dimstream_client.folders.outputs import OutputError, stem_of_path
from dimstream_client.folders.record import Done
from dimstream_client.folders.scanning import RESULT_ENDING, natural_key
from dimstream_client.watching.time_series import NamingRule

Key = tuple[Any, ...]
KeyOf = Callable[[str, int], Key]
"""Returns a sort key for a file's name and time of last change (ns)."""


def by_name(name: str, written_ns: int) -> Key:
    """Return a sort key for natural order of names: img2 before img10."""
    return natural_key(PurePosixPath(name))


def by_time(name: str, written_ns: int) -> Key:
    """Return a sort key for the time of last change."""
    return (written_ns, natural_key(PurePosixPath(name)))


ORDERS: Final[dict[str, KeyOf]] = {"name": by_name, "time": by_time}


class DoneFiles:
    """The finished files of the record, by series.

    Parameters
    ----------
    done : iterable of Done
        Content of the record.
    """

    def __init__(self, rule: NamingRule, key_of: KeyOf, done: Iterable[Done]) -> None:
        self._rule, self._key_of = rule, key_of
        self._series: dict[str, list[tuple[Key, str]]] = defaultdict(list)
        self._files: dict[str, Done] = {}
        for each in done:
            self.add(each)

    def add(self, done: Done) -> None:
        """Add a file; a movie does not belong to a series of files."""
        self.remove(done.file)
        self._files[done.file] = done
        if is_time_point(done.axes):
            insort(self._series[self._rule.place_of(done.file).series], (self._key(done), done.file))

    def remove(self, name: str) -> None:
        """Remove a file."""
        done = self._files.pop(name, None)
        if done is not None and is_time_point(done.axes):
            self._series[self._rule.place_of(name).series].remove((self._key(done), name))

    def before(self, name: str, written_ns: int) -> tuple[Done | None, int]:
        """Return the previous file of the series (None for the first), and the number of earlier files."""
        series = self._series[self._rule.place_of(name).series]
        others = [each for each in series if each[1] != name]
        place = bisect_left(others, (self._key_of(name, written_ns), name))
        return (self._files[others[place - 1][1]] if place else None), place

    def _key(self, done: Done) -> Key:
        _, _, written_ns = done.sources[0]
        return self._key_of(done.file, written_ns)


def is_time_point(axes: str) -> bool:
    """Return whether an image is one time point, and so can belong to a series of files."""
    return not {"T", "P"} & set(axes)


class OutputNames:
    """Names of outputs: ``sub/img.ome.tif``, or ``sub/img.denoised.ome.tif`` next to the image.

    Parameters
    ----------
    folder : Path
        Folder of the outputs.
    is_beside : bool
        Whether outputs are next to the images.
    done : iterable of Done
        Finished files, whose names are used.
    replaces : bool
        Whether files that were not made by this command may be replaced.
    """

    def __init__(self, folder: Path, *, is_beside: bool, done: Iterable[Done], replaces: bool) -> None:
        self._folder, self._is_beside, self._replaces = folder, is_beside, replaces
        self._names = {each.file: each.out for each in done}
        self._owners = {out.casefold(): name for name, out in self._names.items()}

    def name_of(self, name: str) -> str:
        """Return and reserve the name of the output of a file; it is longer if the short name is used.

        Raises
        ------
        OutputError
            When a file with this name exists that was not made by this command.
        """
        if name in self._names:
            return self._names[name]
        file = PurePosixPath(name)
        ending = RESULT_ENDING if self._is_beside else ".ome.tif"
        stem = PurePosixPath(stem_of_path(name)).name
        out = file.with_name(stem + ending).as_posix()
        if self._owners.get(out.casefold(), name) != name:
            out = file.with_name(file.name + ending).as_posix()
        if (self._folder / out).exists() and not self._replaces:
            raise OutputError(
                f"{self._folder / out} already exists and was not made by this command; move it, or name "
                "another folder"
            )
        self._names[name] = out
        self._owners[out.casefold()] = name
        return out
