"""Keys and tokens in files that may change while the server runs, so they are looked at again."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from dimstream_client.errors import KeyFileError
from dimstream_client.keys import Entry, read_entries

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _File:
    stamp: tuple[int, int, int]
    entries: tuple[Entry, ...]


class CredentialFiles:
    """The entries of one file, or of all files of a folder that end in `suffix`, as of the last look.

    A file that cannot be read any more, or holds something else, keeps what it said before, and the log says
    so: a slip of an editor must not throw a running experiment out. A file that is gone says nothing any
    more, once two looks in a row have missed it: some editors take a file away for a moment to save it.

    Parameters
    ----------
    path : Path
        The file or folder.
    kind : str
        `dimstream_client.keys.PUBLIC` or `TOKEN`.
    suffix : str
        Of the files in a folder, such as ``.pub``.

    Raises
    ------
    KeyFileError
        Something cannot be read now, at the start.
    """

    def __init__(self, path: Path, kind: str, suffix: str) -> None:
        self._path = path
        self._kind = kind
        self._suffix = suffix
        self._missed: set[Path] = set()
        self._trouble = ""
        try:
            paths = self._paths()
            self._files = {one: _File(_stamp(one), self._read(one)) for one in paths}
        except OSError as error:
            raise KeyFileError(f"cannot read {path}: {error.strerror}") from None
        if not paths and not path.is_dir():
            raise KeyFileError(f"cannot read {path}: there is no such file or folder")
        self.entries = self._joined()

    def look(self) -> bool:
        """Look at the files again; return whether the entries changed."""
        before = self.entries
        try:
            found = {path: self._again(path) for path in self._paths()}
        except OSError as error:
            self._complain(f"cannot read {self._path}: {error.strerror}")
            return False
        self._trouble = ""
        missed = self._files.keys() - found.keys()
        found.update({path: self._files[path] for path in missed - self._missed})
        self._missed = missed
        self._files = found
        self.entries = self._joined()
        return self.entries != before

    def _paths(self) -> list[Path]:
        if self._path.is_dir():  # iterdir, unlike glob, says when it may not look
            named = (path for path in self._path.iterdir() if path.name.endswith(self._suffix))
            return sorted(path for path in named if path.exists())  # one dead link must not hide the others
        return [self._path] if self._path.exists() else []

    def _again(self, path: Path) -> _File:
        known, stamp = self._files.get(path), _stamp(path)
        if known is not None and known.stamp == stamp:
            return known
        try:
            return _File(stamp, self._read(path))
        except KeyFileError as error:
            self._complain(error.detail)
            return _File(stamp, known.entries if known is not None else ())

    def _read(self, path: Path) -> tuple[Entry, ...]:
        return tuple(read_entries(path, self._kind))

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.error("its former content stays in force event=bad_key_file reason=%s", trouble)
        self._trouble = trouble

    def _joined(self) -> tuple[Entry, ...]:
        return tuple(entry for path in sorted(self._files) for entry in self._files[path].entries)


def _stamp(path: Path) -> tuple[int, int, int]:
    stated = os.stat(path)
    return stated.st_mtime_ns, stated.st_size, stated.st_ino
