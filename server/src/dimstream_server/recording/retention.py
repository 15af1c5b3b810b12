"""What recordings take on the disk, how old they are, and which may be deleted.

Nothing is deleted unless an age was set. Then only what is complete and older goes: a recording that is being
written, was not finished, or holds a file named `KEEP` stays, and so does everything that is no recording.
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
        Of all its files.
    finished_at : float or None
        When its checksums were written, seconds since 1970; None: it is not complete.
    """

    folder: Path
    nbytes: int
    finished_at: float | None

    def age_s(self, now: float) -> float:
        """Seconds since it was finished; 0 when it was not.

        Parameters
        ----------
        now : float
            Seconds since 1970.
        """
        return 0.0 if self.finished_at is None else now - self.finished_at


@dataclass(frozen=True, slots=True)
class Stored:
    """All recordings of a folder, summed up.

    Parameters
    ----------
    complete, unfinished : int
        Recordings with and without checksums.
    complete_bytes, unfinished_bytes : int
        What they take.
    oldest_finished_at : float or None
        When the oldest complete one was finished, seconds since 1970; None: there is none.
    deleted, deleted_bytes : int
        What has been deleted since the server was started.
    """

    complete: int = 0
    unfinished: int = 0
    complete_bytes: int = 0
    unfinished_bytes: int = 0
    oldest_finished_at: float | None = None
    deleted: int = 0
    deleted_bytes: int = 0


class Retention:
    """Looks at a folder of recordings once a minute, on a thread of its own, and deletes what is to go.

    Parameters
    ----------
    keep_days : float or None
        Complete recordings that were finished longer ago are deleted; None: never.
    clock : callable
        Seconds since 1970.
    """

    def __init__(
        self, folder: Path, *, keep_days: float | None, clock: Callable[[], float] = time.time
    ) -> None:
        self.stored: Stored | None = None
        """As of the last look; None before the first."""
        self._folder = folder
        self._keep_s = None if keep_days is None else keep_days * DAY_S
        self._clock = clock
        self._sizes: dict[Path, tuple[int, int]] = {}  # of complete ones, which change no more
        self._deleted, self._deleted_bytes = 0, 0
        self._kept: set[Path] = set()  # that could not be deleted
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recording-retention", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a deletion that has begun is finished."""
        self._stop.set()
        self._thread.join()

    def look(self) -> Stored:
        """Delete what is to go, and sum up what is left; what cannot be read is left out."""
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
            except Exception:  # whatever is odd in the folder, the next look may find it right
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
        """Whether it is gone."""
        try:
            if not delete_recording(one.folder):
                return False
        except (OSError, RecordingRefused) as error:
            if one.folder not in self._kept:  # it is tried again, and said once
                _log.warning(
                    "a recording was to be deleted event=recording_kept folder=%s reason=%s",
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
    """The recordings of a folder, by their names, thus their starts.

    Raises
    ------
    OSError
    """
    return [_look_at(one, _finished_ns(one)) for one in _recordings(folder)]


def delete_recording(folder: Path) -> bool:
    """Delete a complete recording; False when it is to be kept (it holds a file `KEEP`).

    It is renamed first, so that no half of it is taken for a recording. Links are removed, never followed.

    Raises
    ------
    RecordingRefused
        A server is writing it, or it is not complete.
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
    """Delete what a server that was killed meanwhile had begun to."""
    for doomed in folder.glob(f"{_DELETED}*"):
        if not doomed.is_symlink():
            shutil.rmtree(doomed, ignore_errors=True)


def _recordings(folder: Path) -> list[Path]:
    """Folders in this one that hold a recording; links are none."""
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
            except FileNotFoundError:  # one that was renamed meanwhile
                continue
    return total
