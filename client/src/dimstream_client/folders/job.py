"""Denoise a folder: every file once, even if a file fails or the server is lost for a while."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from dimstream_client.errors import Code, ConnectionLost, DimstreamError
from dimstream_client.file_streaming import flags_path, resume_path
from dimstream_client.files import ImageStack
from dimstream_client.folders.denoise_routes import Route
from dimstream_client.folders.outputs import (
    OF_THE_DISK,
    OutputError,
    done_of,
    files_of,
    part_of,
    publish,
    refuse_changed,
    stem_of_path,
)
from dimstream_client.folders.parallel_work import Stopped, work_together
from dimstream_client.folders.record import Done, FolderRecord, Stamp, stamp_of
from dimstream_client.folders.scanning import Scan
from dimstream_client.folders.tables import FLAGS, SUMMARY, FileState, write_flags, write_summary

OF_ALL_FILES: Final = frozenset({Code.UNKNOWN_MODEL, Code.BAD_TOKEN})
"""Codes of refusals that apply to every file."""
_SUMMARY_EVERY_S: Final = 5.0


class Watcher(Protocol):
    """Receives the progress of a job; called by one thread at a time."""

    def begin(self, n: int, name: str, stack: ImageStack) -> None:
        """The n-th file was opened."""

    def frame(self, counts: dict[str, int]) -> None:
        """A frame of an opened file is done."""

    def end(self, n: int, state: FileState) -> None:
        """A file is done, has failed, or was done before."""

    def say(self, text: str) -> None:
        """Another message."""


@dataclass
class _Begun:
    """A file that was opened for denoising."""

    name: str
    source: Path
    stack: ImageStack
    sources: tuple[Stamp, ...]
    out: str
    opened: ExitStack
    since: float


@dataclass
class FolderJob:
    """Denoises the images of a folder into another folder.

    Parameters
    ----------
    source, out : Path
    open_image : callable
        Opens an image with the options of the command.
    replaces : bool
        Whether outputs may replace files that were not made by this command.
    at_once : int
        Number of files that are denoised at the same time, each on its own thread.
    """

    source: Path
    out: Path
    scan: Scan
    record: FolderRecord
    route: Route
    open_image: Callable[[Path], ImageStack]
    watcher: Watcher
    replaces: bool = False
    at_once: int = 1
    states: dict[str, FileState] = field(default_factory=dict)
    _stems: Counter[str] = field(default_factory=Counter)
    _members: dict[str, str] = field(default_factory=dict)
    _summary_at: float = 0.0
    _lock: threading.RLock = field(
        default_factory=threading.RLock
    )  # protects all except the denoising itself
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> list[FileState]:
        """Denoise the files that are not done, and return the state of each file.

        Raises
        ------
        ConnectionLost, StreamError
            When the server is lost for too long, or refuses every file; the other files were not reached.
        OSError
            When an output or a table cannot be written.
        """
        names = [name.as_posix() for name in self.scan.files]
        self._stems = Counter(stem_of_path(name).casefold() for name in names)
        self.states = {name: FileState(name, "not reached") for name in names}
        for where, why in self.scan.unreadable.items():
            name = where.as_posix() + "/"
            self.states[name] = FileState(name, "failed", f"the folder cannot be read: {why}")
        try:
            turns = iter(enumerate(names, start=1))
            if self.at_once == 1:
                self._work_off(turns)
            else:
                work_together(self.at_once, lambda: self._work_off(turns), self._stop)
        finally:
            with self._lock:
                write_summary(self.out / SUMMARY, self.states.values())
                done = [state.done for state in self.states.values() if state.done is not None]
                write_flags(self.out / FLAGS, self.out, done)
        return list(self.states.values())

    def _work_off(self, turns: Iterator[tuple[int, str]]) -> None:
        """Denoise one file after the other until none is left."""
        while True:
            with self._lock:
                self._refuse_when_stopped()
                turn = next(turns, None)
            if turn is None:
                return
            n, name = turn
            state = self._state_of(n, name)
            with self._lock:
                self.states[name] = state
                self.watcher.end(n, state)
                self._show_summary()

    def _refuse_when_stopped(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _state_of(self, n: int, name: str) -> FileState:
        try:
            with self._lock:
                if self.record.is_done(name, self.source):
                    return self._taken(self.record.done[name])
                if (whole := self._members.get(name)) is not None:
                    return FileState(name, "part of a set", f"was read with {whole}")
                begun = self._begin(n, name)
            done = self._denoise(begun)
            with self._lock:
                return self._taken(done)
        except ConnectionLost:
            raise
        except DimstreamError as error:
            if error.code in OF_ALL_FILES:
                raise
            return FileState(name, "failed", str(error))
        except OutputError as error:
            return FileState(name, "failed", str(error))

    def _taken(self, done: Done) -> FileState:
        """Return the state of a denoised file; mark the other files of its set as read."""
        self._members.update({member: done.file for member, _, _ in done.sources if member != done.file})
        missing = done.counts.get("missing", 0)
        state = "incomplete" if missing else "done"
        frames = "1 frame has" if missing == 1 else f"{missing} frames have"
        reason = f"{frames} no result; see {FLAGS} for the reason" if missing else ""
        return FileState(done.file, state, reason, done)

    def _begin(self, n: int, name: str) -> _Begun:
        """Open a file; mark the other files of its set, so that they are not read on their own."""
        source, since = self.source / name, time.monotonic()
        with ExitStack() as opened:
            try:
                first = stamp_of(self.source, name)  # before it is opened, because it may still be written
                stack = opened.enter_context(self.open_image(source))
                others = files_of(self.source, name, stack)[1:]
                sources = (first, *(stamp_of(self.source, each) for each in others))
            except OSError as error:
                raise OutputError(f"cannot be read: {error.strerror or error}") from error
            out = self._out_of(name)
            self.watcher.begin(n, name, stack)
            if self.at_once > 1:  # else another thread could take one of them meanwhile
                self._members.update(dict.fromkeys(others, name))
            return _Begun(name, source, stack, sources, out, opened.pop_all(), since)

    def _denoise(self, begun: _Begun) -> Done:
        with begun.opened:
            part = part_of(self.out / begun.out)
            part.parent.mkdir(parents=True, exist_ok=True)
            with self._discarding(part):
                outcome = self.route.denoise(begun.source, begun.stack, part, self._on_frame)
                refuse_changed(self.source, begun.sources)
            seconds = time.monotonic() - begun.since
            done = done_of(begun.name, begun.out, begun.sources, begun.stack, outcome, part, seconds)
        with self._lock:
            publish(self.record, part, done)
        return done

    def _on_frame(self, counts: dict[str, int]) -> None:
        self._refuse_when_stopped()
        with self._lock:
            self.watcher.frame(counts)

    def _out_of(self, name: str) -> str:
        """Return the name of the output: ``sub/img.ome.tif`` for ``sub/img.tif``, longer if two would be
        equal.

        Raises
        ------
        OutputError
            When a file with this name exists that was not made by this command.
        """
        if (done := self.record.done.get(name)) is not None:
            return done.out
        file = PurePosixPath(name)
        alike = self._stems[stem_of_path(name).casefold()] > 1
        out = file.with_name(f"{file.name if alike else stem_of_path(file.name)}.ome.tif").as_posix()
        if (self.out / out).exists() and not (self.replaces or self.record.is_ours(out)):
            raise OutputError(
                f"{self.out / out} already exists and was not made by this command; move it, or name another "
                "folder"
            )
        return out

    @contextlib.contextmanager
    def _discarding(self, part: Path) -> Iterator[None]:
        """Remove an unfinished output, unless it can be continued: after a lost server or an interruption."""
        try:
            yield
        except (DimstreamError, OSError, OutputError) as error:
            if not isinstance(error, ConnectionLost):
                for path in (part, flags_path(part), resume_path(part)):
                    path.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno not in OF_THE_DISK:
                raise OutputError(f"{error.filename or part}: {error.strerror or error}") from error
            raise

    def _show_summary(self) -> None:
        """Write the table of files from time to time; a program that has it open does not end the job."""
        if time.monotonic() - self._summary_at < _SUMMARY_EVERY_S:
            return
        self._summary_at = time.monotonic()
        try:
            write_summary(self.out / SUMMARY, self.states.values())
        except OSError as error:
            self.watcher.say(f"{SUMMARY} cannot be written at the moment: {error.strerror or error}")
