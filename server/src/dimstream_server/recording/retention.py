"""The size and age of recordings, and which of them may be deleted.

Nothing is deleted unless an age was set. Then only complete recordings of that age are deleted. A recording
that is being written, was not finished, or contains a file named `KEEP` remains, and so do all other files.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dimstream_server.errors import RecordingRefused
from dimstream_server.recording.description import DESCRIPTION
from dimstream_server.recording.repair import SUMS, lock_frame_log

KEEP: Final = "KEEP"
LOOK_S: Final = 60.0
DAY_S: Final = 86_400.0
_DELETED: Final = ".deleted-"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredRecording:
    """One recording on the disk.

    Parameters
    ----------
    nbytes : int
        Size of all its files.
    finished_at : float or None
        Time at which its checksums were written, seconds since 1970; None: it is not complete.
    """

    folder: Path
    nbytes: int
    finished_at: float | None

    def age_s(self, now: float) -> float:
        """Seconds since it was finished; 0 if it was not.

        Parameters
        ----------
        now : float
            Seconds since 1970.
        """
        return 0.0 if self.finished_at is None else now - self.finished_at


@dataclass(frozen=True, slots=True)
class Stored:
    """Totals over all recordings of a folder.

    Parameters
    ----------
    complete, unfinished : int
        Recordings with and without checksums.
    complete_bytes, unfinished_bytes : int
        Their size.
    oldest_finished_at : float or None
        Time at which the oldest complete one was finished, seconds since 1970; None: there is none.
    deleted, deleted_bytes : int
        Number and size of recordings deleted since the start of the server.
    """

    complete: int = 0
    unfinished: int = 0
    complete_bytes: int = 0
    unfinished_bytes: int = 0
    oldest_finished_at: float | None = None
    deleted: int = 0
    deleted_bytes: int = 0


class Retention:
    """Checks a folder of recordings once a minute, in a separate thread, and deletes old ones.

    Parameters
    ----------
    keep_days : float or None
        Complete recordings of a greater age are deleted; None: never.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self, folder: Path, *, keep_days: float | None, clock: Callable[[], float] = time.time
    ) -> None:
        self.stored: Stored | None = None
        """Results of the last check; None before the first."""
        self._folder = folder
        self._keep_s = None if keep_days is None else keep_days * DAY_S
        self._clock = clock
        self._sizes: dict[Path, tuple[int, int]] = {}  # of complete recordings, which no longer change
        self._deleted, self._deleted_bytes = 0, 0
        self._kept: set[Path] = set()  # recordings that could not be deleted
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recording-retention", daemon=True)

    def start(self) -> None:
        """Start checking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop checking; a deletion in progress is finished."""
        self._stop.set()
        self._thread.join()

    def look(self) -> Stored:
        """Delete old recordings, and return the totals of the others; unreadable ones are ignored."""
        if self._keep_s is not None:
            _finish_deletions(self._folder)
        kept = []
        sizes: dict[Path, tuple[int, int]] = {}
        for folder in _recordings(self._folder):
            one = self._stored(folder, sizes)
            if one is not None and not (self._is_due(one) and self._delete(one)):
                kept.append(one)
        self._sizes = sizes
        finished = [one for one in kept if one.finished_at is not None]
        unfinished = [one for one in kept if one.finished_at is None]
        self.stored = Stored(
            complete=len(finished),
            unfinished=len(unfinished),
            complete_bytes=sum(one.nbytes for one in finished),
            unfinished_bytes=sum(one.nbytes for one in unfinished),
            oldest_finished_at=min((one.finished_at for one in finished if one.finished_at), default=None),
            deleted=self._deleted,
            deleted_bytes=self._deleted_bytes,
        )
        return self.stored

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception:  # whatever is wrong in the folder, the next check may succeed
                _log.exception("cannot check recordings event=internal_error folder=%s", self._folder)
            self._stop.wait(LOOK_S)

    def _stored(self, folder: Path, sizes: dict[Path, tuple[int, int]]) -> StoredRecording | None:
        try:
            stamp = _finished_ns(folder)
            known = self._sizes.get(folder)
            if stamp is None or known is None or known[0] != stamp:
                one = _look_at(folder, stamp)
            else:
                one = StoredRecording(folder, known[1], stamp / 1e9)
        except OSError:
            return None
        if stamp is not None:
            sizes[folder] = (stamp, one.nbytes)
        return one

    def _is_due(self, one: StoredRecording) -> bool:
        return self._keep_s is not None and one.age_s(self._clock()) > self._keep_s

    def _delete(self, one: StoredRecording) -> bool:
        """Delete a recording; return whether this succeeded."""
        try:
            if not delete_recording(one.folder):
                return False
        except (OSError, RecordingRefused) as error:
            if one.folder not in self._kept:  # it is tried again, but logged only once
                _log.warning(
                    "a recording could not be deleted event=recording_kept folder=%s reason=%s",
                    one.folder,
                    error,
                )
            self._kept.add(one.folder)
            return False
        self._deleted += 1
        self._deleted_bytes += one.nbytes
        _log.warning(
            "a recording was older than recording.keep_days event=recording_deleted folder=%s bytes=%d "
            "age_days=%.1f",
            one.folder,
            one.nbytes,
            one.age_s(self._clock()) / DAY_S,
        )
        return True


def list_recordings(folder: Path) -> list[StoredRecording]:
    """Return the recordings of a folder, sorted by name, and so by start.

    Raises
    ------
    OSError
    """
    return [_look_at(one, _finished_ns(one)) for one in _recordings(folder)]


def delete_recording(folder: Path) -> bool:
    """Delete a complete recording; return False if it must be kept (it contains a file `KEEP`).

    It is renamed first, so that a partly deleted one is not taken for a recording. Links are removed, never
    followed.

    Raises
    ------
    RecordingRefused
        When a server is writing it, or it is not complete.
    OSError
    """
    if (folder / KEEP).exists():
        return False
    with lock_frame_log(folder):
        if not (folder / SUMS).is_file():
            raise RecordingRefused(f"{folder} is not complete; run `dimstream-server recover` on it first")
        doomed = folder.with_name(f"{_DELETED}{folder.name}")
        folder.rename(doomed)
    shutil.rmtree(doomed)
    return True


def _finish_deletions(folder: Path) -> None:
    """Finish deletions that a killed server had begun."""
    for doomed in folder.glob(f"{_DELETED}*"):
        if not doomed.is_symlink():
            shutil.rmtree(doomed, ignore_errors=True)


def _recordings(folder: Path) -> list[Path]:
    """Return the folders in this one that contain a recording, without links."""
    with os.scandir(folder) as entries:
        found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    named = (path for path in sorted(found) if not path.name.startswith("."))
    return [path for path in named if (path / DESCRIPTION).is_file()]


def _look_at(folder: Path, finished_ns: int | None) -> StoredRecording:
    return StoredRecording(folder, _bytes_below(folder), None if finished_ns is None else finished_ns / 1e9)


def _finished_ns(folder: Path) -> int | None:
    try:
        return os.stat(folder / SUMS, follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:
        return None


def _bytes_below(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:  # a recording that was renamed meanwhile
                continue
    return total
