"""One active recording: an endpoint offers frames, and the recorder's thread writes them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from dimstream_client.quality import Thresholds
from dimstream_server.engine.protocol import ModelInfo
from dimstream_server.errors import RecordingFailed
from dimstream_server.recording.description import InForceFrom, WrittenModel
from dimstream_server.recording.disk import DiskWatch
from dimstream_server.recording.finalising import finalise, write_checksums
from dimstream_server.recording.frame_log import FrameLog, frame_line, skip_line, stopped_line, update_line
from dimstream_server.recording.images import Images
from dimstream_server.recording.spec import Fsync, RecordedFile, RecordedFrame
from dimstream_server.recording.writing_queue import Job, WritingQueue

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecorderContext:
    """The resources that all recordings of a recorder share.

    Parameters
    ----------
    closer : Executor
        Finalises recordings, one after the other, separately from the thread that writes frames.
    forget : callable
        Called with the folder of a finalised recording.
    """

    queue: WritingQueue
    disk: DiskWatch
    closer: Executor
    fsync: Fsync
    forget: Callable[[Path], None]


class Recording:
    """The recording of one stream, created by `Recorder.begin` and `Recorder.resume`.

    `offer`, `update`, `skip` and `finish` are for the endpoint's thread; they never wait.
    """

    def __init__(
        self,
        folder: Path,
        images: Images,
        file: FileIO,
        lines: FrameLog,
        context: RecorderContext,
        *,
        on_written: Callable[[int], None] | None,
    ) -> None:
        self.folder = folder
        self._images, self._file, self._context = images, file, context
        self._on_written = on_written
        self._lock = threading.Lock()
        # the endpoint's
        self._wanted = lines.next_seq  # first frame that was neither queued nor skipped
        self._final: Future[tuple[RecordedFile, ...]] | None = None
        # the writer's
        self._pages = len(lines.recorded)
        self._end = lines.end
        self._next_seq = lines.next_seq
        self._recorded_updates = list(lines.in_force)
        self._failure = lines.stopped

    @property
    def next_seq(self) -> int:
        """First frame that is not recorded yet, which its client must still keep. Frames below it are
        ignored."""
        return self._next_seq

    @property
    def state(self) -> str | None:
        """Why the recording stopped; None while it works. A stopped recording ignores all frames."""
        return self._failure

    def offer(self, frame: RecordedFrame) -> None:
        """Queue a frame, unless it is already queued. Nothing is copied."""
        with self._lock:
            if self._failure is None and self._final is None and frame.seq >= self._wanted:
                self._put(lambda: self._write(frame), frame.nbytes)
                self._wanted = frame.seq + 1

    def update(self, from_seq: int, model: ModelInfo, thresholds: Thresholds) -> None:
        """Record the model and thresholds for frames from `from_seq` on."""
        in_force = InForceFrom(from_seq=from_seq, model=WrittenModel.of(model), thresholds=thresholds)
        self._put(lambda: self._write_update(in_force))

    def skip(self, seq_from: int, seq_to: int, reason: str) -> None:
        """Record that frames `seq_from` to `seq_to` (inclusive) will never arrive."""
        self._put(lambda: self._write_skip(seq_from, seq_to, reason))

    def finish(self) -> Future[tuple[RecordedFile, ...]]:
        """Finalise the files after everything in the queue; the future returns them with their checksums.

        The future raises RecordingFailed if the recording stopped before, or cannot be finalised; its `files`
        are those that were kept. The checksums of gigabytes take seconds.
        """
        with self._lock:
            if self._final is None:
                final = self._final = Future()
                self._put(lambda: self._context.closer.submit(self._make_final, final))
            return self._final

    def leave(self) -> None:
        """Close the files so that all readers can open them, but without checksums, because it may be
        continued."""
        if self._final is None:
            try:
                finalise(self.folder, sync=self._context.fsync != "never", images=self._images)
            except Exception as error:
                _log.error("cannot close event=recording_unfinished folder=%s reason=%s", self.folder, error)
            finally:
                self._file.close()

    # --- the endpoint's thread

    def _put(self, run: Callable[[], Any], nbytes: int = 0) -> None:
        self._context.queue.put(Job(run, nbytes))

    # --- the writer's thread

    def _write(self, frame: RecordedFrame) -> None:
        self._commit(lambda: self._write_pixels(frame), after=frame.seq)
        if self._failure is None:
            self._pages += 1
        if self._on_written is not None:
            self._on_written(frame.seq)

    def _write_pixels(self, frame: RecordedFrame) -> bytes:
        disk = self._context.disk
        free = disk.look()
        if free - frame.nbytes < disk.reserve_bytes:
            raise OSError(disk.below_reserve(free))
        self._images.append(frame)
        disk.wrote(frame.nbytes)
        if self._context.fsync == "frame":
            self._images.sync()
        return frame_line(frame, self._pages)

    def _write_update(self, in_force: InForceFrom) -> None:
        if in_force not in self._recorded_updates:
            self._commit(lambda: update_line(in_force), after=None)
            self._recorded_updates.append(in_force)

    def _write_skip(self, seq_from: int, seq_to: int, reason: str) -> None:
        if seq_to >= self._next_seq:
            self._commit(lambda: skip_line(seq_from, seq_to, reason), after=seq_to)

    def _commit(self, make_line: Callable[[], bytes], *, after: int | None) -> None:
        """Write a line, and stop the recording if this fails."""
        if self._failure is not None:
            return
        try:
            self._write_line(make_line())
        except OSError as error:
            self._stop(str(error.strerror or error))
        except Exception as error:
            _log.exception("cannot record event=internal_error folder=%s", self.folder)
            self._stop(f"{type(error).__name__}: {error}")
        else:
            if after is not None:
                self._next_seq = after + 1

    def _write_line(self, line: bytes) -> None:
        if (written := self._file.write(line)) != len(line):
            raise OSError(f"only {written} of {len(line)} bytes of a line were written")
        if self._context.fsync == "frame":
            os.fsync(self._file.fileno())
        self._end += len(line)

    def _stop(self, reason: str) -> None:
        """Keep all complete frames and ignore further ones; the stream continues."""
        self._failure = reason
        _log.error(
            "recording stopped event=recording_stopped folder=%s frames=%d next_seq=%d reason=%r",
            self.folder,
            self._pages,
            self._next_seq,
            reason,
        )
        try:
            self._images.cut(self._pages)
            os.truncate(self._file.fileno(), self._end)
            self._write_line(stopped_line(reason))
        except OSError as error:
            _log.warning(
                "an incomplete frame remains event=recording_uncut folder=%s reason=%s", self.folder, error
            )

    # --- the closer's thread

    def _make_final(self, final: Future[tuple[RecordedFile, ...]]) -> None:
        sync = self._context.fsync != "never"
        files: tuple[RecordedFile, ...] = ()
        failure = self._failure
        try:
            finalise(self.folder, sync=sync, images=self._images)
            files = write_checksums(self.folder, sync=sync)
        except Exception as error:
            _log.exception("cannot finish a recording event=recording_unfinished folder=%s", self.folder)
            failure = failure or (
                f"its files could not be completed ({error}); free some space, then run `dimstream-server "
                "recover`"
            )
        finally:
            self._file.close()
        self._context.forget(self.folder)
        if not final.set_running_or_notify_cancel():
            return
        if failure is None:
            final.set_result(files)
        else:
            final.set_exception(
                RecordingFailed(f"the recording stopped before frame {self._next_seq}: {failure}", files)
            )
