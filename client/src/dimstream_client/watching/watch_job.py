"""Check a folder repeatedly, and denoise its images when they no longer change."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from dimstream_client.errors import Code, ConnectionLost, DimstreamError
from dimstream_client.folders.outputs import OF_THE_DISK, OutputError
from dimstream_client.folders.record import Done, FolderInUse, FolderRecord
from dimstream_client.folders.scanning import RECORD, scan
from dimstream_client.folders.tables import FileState, write_flags, write_summary
from dimstream_client.watching.clock import Clock
from dimstream_client.watching.complete_files import Arrivals
from dimstream_client.watching.complete_files import FileState as Stamp
from dimstream_client.watching.done_files import KeyOf
from dimstream_client.watching.time_series import NamingRule
from dimstream_client.watching.watched_files import NotYet, WatchedFiles

_OF_ALL_FILES: Final = frozenset({Code.UNKNOWN_MODEL, Code.BAD_TOKEN})
_SUMMARY_EVERY_S: Final = 5.0
_DISK_AGAIN_S: Final = 10.0
_SHARE_OF_TIME: Final = 0.2  # for scanning the folder


class WatchProgress(Protocol):
    """Receives the progress of watching."""

    def end(self, n: int, state: FileState) -> None:
        """A file is done, has failed, or was done before."""

    def say(self, text: str) -> None:
        """Another message."""

    def warn(self, text: str) -> None:
        """A wait has begun or ended; also shown without progress."""


@dataclass(frozen=True)
class WatchOptions:
    """Settings of watching a folder.

    Parameters
    ----------
    poll_s : float
        Seconds between scans of the folder.
    settle_s : float
        Seconds that a file must not have changed before it is read.
    give_up_s : float
        Seconds without change after which a file that cannot be read has failed.
    until_quiet_s : float, optional
        End when everything is done and nothing has changed for this number of seconds; None: never.
    flags, summary : str
        Names of the tables.
    """

    poll_s: float
    settle_s: float
    give_up_s: float
    until_quiet_s: float | None
    key_of: KeyOf
    rule: NamingRule
    flags: str
    summary: str


@dataclass
class WatchJob:
    """Watches a folder until it is stopped, or nothing has changed for long enough.

    Parameters
    ----------
    source, out : Path
        The watched folder, and the folder of outputs.
    open_record : callable
        Opens the record of the output folder again after the folder was not available.
    """

    source: Path
    out: Path
    files: WatchedFiles
    open_record: Callable[[], FolderRecord]
    progress: WatchProgress
    clock: Clock
    options: WatchOptions
    states: dict[str, FileState] = field(default_factory=dict)
    _over: dict[str, Stamp] = field(default_factory=dict)
    _members: dict[str, str] = field(default_factory=dict)
    _said: dict[str, str] = field(default_factory=dict)
    _blocked: set[str] = field(default_factory=set)
    _waiting: set[str] = field(default_factory=set)
    _active_at: float = 0.0
    _summary_at: float = 0.0
    _disk_at: float = 0.0

    def __post_init__(self) -> None:
        self._arrivals = Arrivals(self.options.settle_s)
        for done in self.files.record.done.values():
            self._note_members(done)

    def run(self) -> None:
        """Watch.

        Raises
        ------
        ConnectionLost, StreamError
            When the server is lost for too long, or refuses every file.
        SpoolError
            When another program uses the folder after it was not available.
        OSError
            When a table cannot be written.
        """
        self._active_at = self.clock.now()
        try:
            while not self._has_ended():
                started = self.clock.now()
                self._look()
                took_s = self.clock.now() - started
                self.clock.wait(max(self.options.poll_s, took_s / _SHARE_OF_TIME))
        finally:
            self._write_tables()

    def _write_tables(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # the folder is not available
            write_summary(self.out / self.options.summary, self._sorted_states())
            done = [state.done for state in self._sorted_states() if state.done is not None]
            write_flags(self.out / self.options.flags, self.out, done)

    def _sorted_states(self) -> list[FileState]:
        return [self.states[name] for name in sorted(self.states, key=lambda n: self.options.key_of(n, 0))]

    def _has_ended(self) -> bool:
        """Whether everything is done and nothing has changed for long enough."""
        if self.options.until_quiet_s is None:
            return False
        last = max(self._active_at, self._arrivals.last_change or 0.0)
        is_over = all(self._is_over(name) for name in self._arrivals.names)
        return is_over and self.clock.now() - last >= self.options.until_quiet_s

    # -- one look

    def _look(self) -> None:
        """Scan the folder, and denoise the files that are due until the next scan."""
        listing = self._listing()
        if listing is None:
            self._active_at = self.clock.now()
            return
        now = self.clock.now()
        self._arrivals.look(listing, now)
        for name, is_at_rest in self._due(now):
            if self.clock.now() < self._disk_at:
                break
            if is_at_rest:
                self._denoise(name)
            else:
                self._follow(name)
            if self.clock.now() - now > self.options.poll_s:
                break
        self._show_summary()

    def _listing(self) -> dict[str, Stamp] | None:
        """Return size and time of each image; None while the folder or the output folder is not available."""
        try:
            without = self.out if self.out != self.source else None
            names = [name.as_posix() for name in scan(self.source, without=without).files]
        except OSError as error:
            self._say("folder", f"{self.source} cannot be listed; waiting: {error.strerror or error}")
            return None
        if not (self.out / RECORD).is_file():
            self._say("folder", f"{self.out} is not available, or its record was removed; waiting for it")
            return None
        if "folder" in self._said and not self._is_back():
            return None
        listing = {}
        for name in names:
            with contextlib.suppress(OSError):  # it no longer exists
                stat = os.stat(self.source / name)
                listing[name] = (stat.st_size, stat.st_mtime_ns)
        return listing

    def _is_back(self) -> bool:
        """Open the record again, because the folder was not available meanwhile."""
        with contextlib.suppress(OSError):
            self.files.record.close()
        try:
            self.files.record = self.open_record()
        except FolderInUse:
            raise
        except OSError:
            return False
        self._said.pop("folder")
        self.progress.warn(f"{self.source} is available again")
        return True

    def _say(self, what: str, text: str) -> None:
        """Print a message once while a problem lasts."""
        if self._said.get(what) != text:
            self._said[what] = text
            self.progress.warn(text)

    def _due(self, now: float) -> Iterator[tuple[str, bool]]:
        """Yield files that are at rest or growing, in order; none before an earlier one of its series."""
        self._blocked = set()
        key_of, arrivals = self.options.key_of, self._arrivals

        def key(name: str) -> tuple[object, ...]:
            state = arrivals.state_of(name)
            return key_of(name, state[1] if state else 0)

        for name in sorted((name for name in arrivals.names if not self._is_over(name)), key=key):
            series = self.options.rule.place_of(name).series
            if series in self._blocked:
                continue
            if arrivals.is_at_rest(name, now):
                yield name, True
            else:
                self._blocked.add(series)
                if arrivals.is_growing(name):
                    yield name, False

    def _is_over(self, name: str) -> bool:
        """Return whether a file needs no work in its current state."""
        state = self._arrivals.state_of(name)
        if state is not None and self._over.get(name) == state:
            return True
        if name not in self._over and self.files.record.is_done(name, self.source):
            self._end(name, _state_of(self.files.record.done[name]))
            return True
        return False

    # -- one file

    def _denoise(self, name: str) -> None:
        if (whole := self._members.get(name)) is not None:
            self._end(name, FileState(name, "part of a set", f"was read with {whole}"))
            return
        now = self.clock.now()
        try:
            done = self.files.denoise(
                len(self.states) + 1, name, lambda other: self._arrivals.is_at_rest(other, now)
            )
        except NotYet as error:
            self._blocked.add(self.options.rule.place_of(name).series)
            if self._arrivals.quiet_s(name, now) >= self.options.give_up_s and not self._is_away():
                self._end(name, FileState(name, "failed", str(error)))
            elif name not in self._waiting:
                self._waiting.add(name)
                self.progress.say(f"{name} waits: {error}")
        except (DimstreamError, OutputError, OSError) as error:
            self._failed(name, error)
        else:
            self._note_members(done)
            if self._said.pop("disk", None):
                self.progress.warn(f"outputs can be written again ({self.out})")
            self._end(name, _state_of(done))

    def _note_members(self, done: Done) -> None:
        """Mark the other files of a set as read."""
        self._members.update({member: done.file for member, _, _ in done.sources if member != done.file})

    def _follow(self, name: str) -> None:
        try:
            self.files.follow(name)
        except (DimstreamError, OutputError, OSError) as error:
            self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        """Record a failed file, unless the server, the folder or the disk was the cause."""
        self._blocked.add(self.options.rule.place_of(name).series)
        if isinstance(error, ConnectionLost) or getattr(error, "code", None) in _OF_ALL_FILES:
            raise error
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            self._say("disk", f"{name} waits; its output cannot be written: {error.strerror} ({self.out})")
            self._active_at = self.clock.now()
            self._disk_at = self._active_at + _DISK_AGAIN_S
            return
        if self._is_away() or not (self.source / name).exists():
            return  # the next scan finds what exists
        reason = f"{error.filename or name}: {error.strerror}" if isinstance(error, OSError) else str(error)
        self._end(name, FileState(name, "failed", reason))

    def _is_away(self) -> bool:
        return not self.source.is_dir() or not (self.out / RECORD).is_file()

    def _end(self, name: str, state: FileState) -> None:
        """Record the state of a file; it is read again when it changes."""
        self._active_at = self.clock.now()
        self._waiting.discard(name)
        seen = self._arrivals.state_of(name)
        if state.done is not None:
            _, *stamp = state.done.sources[0]
            seen = (stamp[0], stamp[1])
        if seen is not None:
            self._over[name] = seen
        self.states[name] = state
        self.progress.end(len(self.states), state)

    def _show_summary(self) -> None:
        """Write the table of files from time to time; a program that has it open does not end the job."""
        now = self.clock.now()
        if now - self._summary_at < _SUMMARY_EVERY_S or self._active_at <= self._summary_at:
            return
        self._summary_at = now
        try:
            write_summary(self.out / self.options.summary, self._sorted_states())
        except OSError as error:
            self._say("summary", f"{self.options.summary} cannot be written: {error.strerror or error}")


def _state_of(done: Done) -> FileState:
    missing = done.counts.get("missing", 0)
    if not missing:
        return FileState(done.file, "done", done=done)
    frames = "1 frame has" if missing == 1 else f"{missing} frames have"
    return FileState(
        done.file, "incomplete", f"{frames} no result; see the table of flags for the reason", done
    )
