"""The record of a denoised folder: finished files, with their sources and outputs.

It is a hidden file of JSON lines in the output folder; the first line has the options. A line is written
before its output gets its name, so an output without a line was made by another program. A line whose output
is missing or has another size means that the file must be denoised again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from dimstream_client import folder_lock
from dimstream_client.errors import SpoolError
from dimstream_client.file_streaming import flags_path
from dimstream_client.folders.scanning import RECORD

VERSION: Final = 1
LOCK: Final = ".dimstream-folder.lock"
Stamp = tuple[str, int, int]
"""(name, size in bytes, time of last change in ns) of a file that was read."""


@dataclass(frozen=True)
class Done:
    """A file that was denoised.

    Parameters
    ----------
    file, out : str
        Paths relative to their folders, with ``/``.
    sources : tuple of Stamp
        The files that were read; several for a set.
    out_bytes : int
    counts : dict
        Number of frames with each flag, and without one (``missing``).
    """

    file: str
    out: str
    sources: tuple[Stamp, ...]
    out_bytes: int
    axes: str
    shape: tuple[int, ...]
    counts: dict[str, int]
    suspect_since: int | None
    model_sha256: str | None
    seconds: float
    remarks: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """Number of its frames."""
        return sum(self.counts.values())


class FolderInUse(SpoolError):
    """Another program uses the folder."""


class FolderRecord:
    """The record of an output folder; used by one program at a time.

    Parameters
    ----------
    options : dict
        Options that affect the outputs, as JSON types.
    from_scratch : bool
        Discard the finished files, and use other options.

    Attributes
    ----------
    done : dict of Done
        Finished files by name.

    Raises
    ------
    SpoolError
        When it is not a record, or has other options.
    FolderInUse
    OSError
    """

    def __init__(self, folder: Path, options: dict[str, Any], *, from_scratch: bool = False) -> None:
        self.folder = folder
        self.done: dict[str, Done] = {}
        self._ours: set[str] = set()
        self._options: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._lock: BinaryIO = (folder / LOCK).open("ab")
        try:
            folder_lock.take(self._lock)
        except OSError:
            self._lock.close()
            raise FolderInUse(
                f"another program writes into {folder} at the moment; wait for it, or name another folder"
            ) from None
        try:
            self._open(options, from_scratch=from_scratch)
        except BaseException:
            self._lock.close()
            raise

    def _open(self, options: dict[str, Any], *, from_scratch: bool) -> None:
        path = self.folder / RECORD
        end = self._read(path, options, from_scratch=from_scratch) if path.exists() else 0
        if end:
            os.truncate(path, end)  # after it is a partial line of a program that was killed
        self._file = path.open("ab", buffering=0)
        if not end or self._options != options:
            self._write({"version": VERSION, "options": options})

    def _read(self, path: Path, options: dict[str, Any], *, from_scratch: bool) -> int:
        """Read the complete lines; return the position of their end."""
        end = 0
        with path.open("rb") as lines:
            for line in lines:
                try:
                    fields = json.loads(line) if line.endswith(b"\n") else None
                    if fields is None:
                        break
                    self._take(fields)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise SpoolError(
                        f"{path} is damaged ({error}); remove it, or name another folder"
                    ) from None
                end += len(line)
        if from_scratch:
            self.done.clear()
        elif self.done and self._options != options:
            differ = sorted(name for name in options if options[name] != self._options.get(name))
            then = ", ".join(f"{name} {self._options.get(name)} (now {options[name]})" for name in differ)
            raise SpoolError(
                f"{self.folder} holds outputs that were made with other options: {then}; give the same ones, "
                "name another folder, or replace all outputs by --overwrite"
            )
        return end

    def _take(self, fields: dict[str, Any]) -> None:
        if "options" in fields:
            if fields["version"] != VERSION:
                raise ValueError(f"expected version {VERSION}, got {fields['version']!r}")
            self._options = dict(fields["options"])
            self.done.clear()
            return
        sources = tuple((str(name), int(size), int(when)) for name, size, when in fields.pop("sources"))
        shape, remarks = tuple(fields.pop("shape")), tuple(fields.pop("remarks"))
        done = Done(sources=sources, shape=shape, remarks=remarks, **fields)
        self.done[done.file] = done
        self._ours.add(done.out)

    def add(self, done: Done) -> None:
        """Add a finished file; its output gets its name immediately after this.

        Raises
        ------
        OSError
        """
        self._write(asdict(done))
        self.done[done.file] = done
        self._ours.add(done.out)

    def is_ours(self, out: str) -> bool:
        """Return whether an output with this name is in the record, and so may be replaced."""
        return out in self._ours

    def is_done(self, file: str, source_folder: Path) -> bool:
        """Return whether a file is done: its output exists and is complete, and the file was not changed
        since."""
        done = self.done.get(file)
        if done is None:
            return False
        out = self.folder / done.out
        try:
            is_whole = out.stat().st_size == done.out_bytes and flags_path(out).is_file()
            return is_whole and all(
                stamp_of(source_folder, name) == (name, size, when) for name, size, when in done.sources
            )
        except OSError:
            return False

    def close(self) -> None:
        """Release the folder."""
        self._file.close()
        self._lock.close()

    def __enter__(self) -> FolderRecord:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, fields: dict[str, Any]) -> None:
        end = self._file.seek(0, os.SEEK_END)
        line = json.dumps(fields).encode() + b"\n"
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder / RECORD))
            os.fsync(self._file.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(end)  # no line may follow a partial one
            raise


def stamp_of(folder: Path, name: str) -> Stamp:
    """Return name, size and time of last change of a file, to detect changes.

    Raises
    ------
    OSError
    """
    stat = (folder / name).stat()
    return name, stat.st_size, stat.st_mtime_ns
