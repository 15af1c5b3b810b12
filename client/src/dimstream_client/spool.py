"""Frames on disk until their results are processed, so that a crash or a long outage loses none.

A spool is a folder for one stream::

    stream.json            what resumes the stream: endpoint, OPEN, its id at the server, its token settled
    first result that the program has not processed 000000000042.frame     frame 42, or the SKIP that begins
    there lock                   held by the program that uses the folder

A frame is in its file before `Stream.send` returns. Files are not synced: they survive a crash of the
program. After a power failure one may be damaged; its checksum shows this, and an error reports it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Union

from dimstream_client import folder_lock, spool_file
from dimstream_client.errors import SpoolError, SpoolFull
from dimstream_client.messages import Frame, PlaneIndex, Skip
from dimstream_client.resume_handle import ResumeHandle
from dimstream_client.wire import encode

FilePath = Union[str, "os.PathLike[str]"]

GIB: Final = 2**30
_log = logging.getLogger("dimstream")
_SUFFIX: Final = ".frame"
Plane = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class SpooledFrame:
    """A frame that is on disk; `load` reads it."""

    stream: str
    seq: int
    index: PlaneIndex
    load: Callable[[], Frame]


class Spool:
    """The folder of one stream; its methods may be called from any thread.

    Parameters
    ----------
    folder : path
        Created if missing.
    max_bytes : int
        Limit for all frames, bytes.
    reserve_bytes : int
        Free disk space that is kept, bytes.
    memory_bytes : int
        Frames that were not sent yet are also kept in memory up to this size, to avoid reading them.

    Raises
    ------
    SpoolError
        When the folder cannot be used, or another program uses it.
    """

    def __init__(
        self,
        folder: FilePath,
        *,
        max_bytes: int = 64 * GIB,
        reserve_bytes: int = GIB,
        memory_bytes: int = GIB // 8,
    ) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self.reserve_bytes = reserve_bytes
        self._memory_bytes = memory_bytes
        self._fresh: dict[int, Frame] = {}
        self._fresh_bytes = 0
        self.settled = 0
        self.bytes = 0
        self._mutex = threading.Lock()
        self._sizes: dict[int, int] = {}
        self._unsettled: deque[int] = deque()
        self._planes: dict[int, Plane] = {}  # of the frames whose results were not processed
        self._references: dict[Plane, int] = {}
        with self._errors("be used"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("ab")
        try:
            folder_lock.take(self._lock)
        except OSError:
            self._lock.close()
            raise SpoolError(f"{self.folder} is used by another program; name another folder") from None
        self.items: list[SpooledFrame | Skip] = []
        self.resume_handle: ResumeHandle | None = None
        try:
            self.resume_handle = self._read_resume_handle()
        except SpoolError:
            self._lock.close()
            raise
        self._counter: BinaryIO | None = None

    # --- the stream

    def begin(self, resume_handle: ResumeHandle) -> None:
        """Begin a new stream here.

        Raises
        ------
        SpoolError
            When it already has a stream, or the folder cannot be written.
        """
        with self._errors("be written"):
            unfinished = self.folder / ".stream.json"
            with spool_file.open_private(unfinished) as file:
                file.write(resume_handle.to_json().encode())
            unfinished.replace(self.folder / "stream.json")
        self.resume_handle = resume_handle
        self._open_counter()

    def recover(self, settled: int | None = None) -> list[SpoolError]:
        """Find the frames that must be sent again (`items`); return the errors of damaged files between them.

        A file that a crash has truncated is the last one; `Stream.send` had not returned for its frame.

        Parameters
        ----------
        settled : int, optional
            First result that the program has not processed, if it knows better than the file ``settled``.

        Raises
        ------
        SpoolError
            When the folder holds no stream or cannot be read, or frames from `settled` on are missing.
        """
        if self.resume_handle is None:
            raise SpoolError(
                f"{self.folder} holds no stream; expected the spool of a stream that was interrupted"
            )
        self._restart()
        self._open_counter()
        known = self._read_counter()
        if settled is not None and settled < known:
            raise SpoolError(
                f"{self.folder}: expected settled from {known} on, as frames before are gone, got {settled}"
            )
        self.settled = known if settled is None else settled
        damage: list[SpoolError] = []
        files = sorted(path for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())
        for path in files:
            self._recover(path, damage, is_last=path == files[-1])
        self.settle(self.settled)
        return damage

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close(done=False)

    def close(self, *, done: bool) -> None:
        """Release the folder; remove it if `done`."""
        with self._mutex:
            if self._lock.closed:
                return
            if self._counter is not None:
                self._counter.close()
            if done:
                self._remove()
            self._lock.close()

    # --- frames

    def keep(self, frame: Frame) -> SpooledFrame:
        """Write a frame to the disk.

        Raises
        ------
        SpoolFull
            When the limit is reached, or the disk would be full; nothing was kept.
        SpoolError
            When the disk cannot be written; nothing was kept.
        """
        self._write(frame.seq, encode(frame))
        plane = (frame.index.c, frame.index.z, frame.index.p)
        with self._mutex:
            self._planes[frame.seq] = plane
            if self._fresh_bytes + frame.pixels.nbytes <= self._memory_bytes:
                self._fresh[frame.seq] = frame
                self._fresh_bytes += frame.pixels.nbytes
        return SpooledFrame(frame.stream, frame.seq, frame.index, lambda: self.load(frame.seq))

    def keep_skip(self, skip: Skip) -> None:
        """Write a SKIP to the disk.

        Raises
        ------
        SpoolFull, SpoolError
        """
        self._write(skip.seq_from, encode(skip))

    def take_back(self, seq: int) -> None:
        """Remove the last frame or SKIP again, because it was not sent."""
        with self._mutex:
            if self._unsettled and self._unsettled[-1] == seq:
                self._unsettled.pop()
                self._planes.pop(seq, None)
                self._drop(seq)

    def load(self, seq: int) -> Frame:
        """Read a frame.

        Raises
        ------
        SpoolError
            When its file is damaged or missing.
        """
        with self._mutex:
            fresh = self._take_fresh(seq)
        if fresh is not None:
            return fresh
        with self._errors("be read"):
            content = self._path(seq).read_bytes()
        message = spool_file.parse(content, where=str(self._path(seq)))
        if not isinstance(message, Frame) or message.seq != seq:
            raise SpoolError(f"{self._path(seq)}: expected frame {seq}, got another")
        return message

    def find(self, seq: int) -> Frame | None:
        """Read a frame whose result was processed; None when it was deleted.

        Raises
        ------
        SpoolError
            When its file is damaged.
        """
        return self.load(seq) if seq in self._sizes else None

    def settle(self, next_result: int) -> None:
        """Record that the program has processed all results before this one; delete frames that are not
        needed.

        The last of these frames stays for each plane, because the server may compare the next one with it.
        """
        with self._mutex:
            self.settled = max(self.settled, next_result)
            self._note_settled()
            while self._unsettled and self._unsettled[0] < self.settled:
                seq = self._unsettled.popleft()
                plane = self._planes.pop(seq, None)
                if plane is None:  # a SKIP
                    self._drop(seq)
                else:
                    self._drop(self._references.get(plane))
                    self._references[plane] = seq

    # --- files

    def _note_settled(self) -> None:
        if self._counter is None or self._counter.closed:
            return
        try:
            self._counter.seek(0)
            self._counter.write(b"%020d\n" % self.settled)
        except OSError as error:
            _log.warning("after a crash, results from before %d come again: %s", self.settled, error)

    def _path(self, seq: int) -> Path:
        return self.folder / f"{seq:012d}{_SUFFIX}"

    def _write(self, seq: int, parts: list[Any]) -> None:
        nbytes = spool_file.size_of(parts)
        with self._mutex:
            self._check_room(nbytes)
        path = self._path(seq)
        try:
            spool_file.write(path, parts)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise SpoolError(f"frame {seq} cannot be kept in {self.folder}: {error.strerror}") from error
        with self._mutex:
            self._sizes[seq] = nbytes
            self._unsettled.append(seq)
            self.bytes += nbytes

    def _check_room(self, nbytes: int) -> None:
        if self.bytes + nbytes > self.max_bytes:
            raise SpoolFull(
                f"the spool {self.folder} has {self.bytes} bytes, and one more frame would exceed its limit "
                "of "
                f"{self.max_bytes}; see why no results come, or allow it more"
            )
        with self._errors("be looked at"):
            free = shutil.disk_usage(self.folder).free
        if free - nbytes < self.reserve_bytes:
            raise SpoolFull(
                f"the disk of the spool {self.folder} has {free} bytes left, of which {self.reserve_bytes} "
                "are not touched; free some, or see why no results come"
            )

    def _drop(self, seq: int | None) -> None:
        if seq is None or seq not in self._sizes:
            return
        self.bytes -= self._sizes.pop(seq)
        self._take_fresh(seq)
        with contextlib.suppress(OSError):  # a file that is not deleted does no harm
            self._path(seq).unlink()

    def _take_fresh(self, seq: int) -> Frame | None:
        fresh = self._fresh.pop(seq, None)
        self._fresh_bytes -= 0 if fresh is None else fresh.pixels.nbytes
        return fresh

    def _restart(self) -> None:
        """Forget what an earlier recovery has found."""
        for found in (self.items, self._sizes, self._unsettled, self._planes, self._references, self._fresh):
            found.clear()
        self.bytes = self._fresh_bytes = 0
        if self._counter is not None:
            self._counter.close()

    def _recover(self, path: Path, damage: list[SpoolError], *, is_last: bool) -> None:
        seq = int(path.stem)
        try:
            with self._errors("be read"):
                message = spool_file.parse(path.read_bytes(), where=str(path))
        except SpoolError as error:
            path.unlink()
            if not is_last and seq >= self.settled:
                damage.append(error)
                stream = self.resume_handle.stream if self.resume_handle else ""
                self.items.append(Skip(stream, seq, seq, "its file was damaged"))
            return
        self._sizes[seq] = path.stat().st_size
        self._unsettled.append(seq)
        self.bytes += self._sizes[seq]
        if isinstance(message, Frame):
            index = message.index
            self._planes[seq] = (index.c, index.z, index.p)
            item: SpooledFrame | Skip = SpooledFrame(message.stream, seq, index, lambda: self.load(seq))
        else:
            item = message
        if (message.seq_to if isinstance(message, Skip) else seq) >= self.settled:
            self.items.append(item)

    def _read_resume_handle(self) -> ResumeHandle | None:
        path = self.folder / "stream.json"
        with self._errors("be read"):
            if not path.exists():
                return None
            return ResumeHandle.of_json(path.read_text("utf-8"), where=str(path))

    def _open_counter(self) -> None:
        with self._errors("be written"):
            path = self.folder / "settled"
            if not path.exists():
                path.write_bytes(b"%020d\n" % 0)
            self._counter = path.open("r+b", buffering=0)

    def _read_counter(self) -> int:
        with self._errors("be read"):
            text = (self.folder / "settled").read_bytes()
        if len(text) != 21 or not text[:20].isdigit():
            raise SpoolError(f"{self.folder / 'settled'}: expected a number of 20 digits, got {text[:30]!r}")
        return int(text)

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            for path in self.folder.glob(f"*{_SUFFIX}"):
                path.unlink()
            for name in ("settled", "stream.json"):
                (self.folder / name).unlink()
            if sys.platform == "win32":  # where an open file cannot be removed
                self._lock.close()
            (self.folder / "lock").unlink()
            self.folder.rmdir()

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SpoolError(f"the spool {self.folder} cannot {what}: {error.strerror or error}") from error
