"""Records the streams of a server: one folder, one thread that writes, one queue that credit bounds."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from dimstream_server.errors import RecordingRefused, ServerBusy
from dimstream_server.recording.description import DESCRIPTION, Description, folder_name
from dimstream_server.recording.disk import LOOK_S, DiskWatch
from dimstream_server.recording.formats import open_images
from dimstream_server.recording.recording import RecorderContext, Recording
from dimstream_server.recording.repair import lock_frame_log, repair
from dimstream_server.recording.spec import Fsync, RecordingSpec
from dimstream_server.recording.writing_queue import WritingQueue

LEAST_FRAMES: Final = 100
"""There must be room for so many frames when a recording begins."""
_log = logging.getLogger(__name__)


class Recorder:
    """Begins recordings in a folder and writes them.

    Parameters
    ----------
    folder : Path
        Made when it is missing.
    most_queued_bytes : int
        Memory of frames that wait to be written, of all recordings, at which no recording begins or goes on.
    reserve_bytes : int
        Free space that recordings leave; at that point they stop in order.
    warn_bytes : int
        Free space under which a warning is logged.
    fsync : {"never", "close", "frame"}
        When to wait until the disk has it: see `docs/recording.md`.
    least_frames : int
        There must be room for so many when a recording begins.

    Raises
    ------
    RecordingRefused
        The folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most_queued_bytes: int,
        reserve_bytes: int,
        warn_bytes: int,
        fsync: Fsync = "close",
        least_frames: int = LEAST_FRAMES,
    ) -> None:
        self.folder = folder
        self._most_queued_bytes, self._least_frames = most_queued_bytes, least_frames
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(folder, error) from error
        disk = DiskWatch(folder, reserve_bytes=reserve_bytes, warn_bytes=warn_bytes)
        disk.check()
        self._context = RecorderContext(
            queue=WritingQueue(),
            disk=disk,
            closer=ThreadPoolExecutor(1, thread_name_prefix="recording-closer"),
            fsync=fsync,
            forget=self._forget,
        )
        self._open: dict[Path, Recording] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="recording-writer", daemon=True)
        self._thread.start()

    def begin(self, spec: RecordingSpec, *, on_written: Callable[[int], None] | None = None) -> Recording:
        """Begin a recording. This makes files: call it in a worker thread where the disk may be slow.

        Parameters
        ----------
        on_written : callable, optional
            Called with the number of each frame once it is on the disk, or once the recording has stopped
            and will not have it; on the writer's thread. It must only hand over.

        Raises
        ------
        RecordingRefused
            The folder cannot be written, the disk will not hold it, or there is such a recording.
        ServerBusy
            The disk is too far behind.
        """
        self._refuse_behind()
        self._refuse_without_room(spec)
        folder = self.folder / folder_name(spec)
        try:
            folder.mkdir()
        except FileExistsError:
            raise RecordingRefused(f"there is a recording {folder} already; resume it") from None
        except OSError as error:
            raise _refused(folder, error) from error
        try:
            return self._made(folder, spec, on_written)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # it holds no frame yet
            raise

    def resume(self, spec: RecordingSpec, *, on_written: Callable[[int], None] | None = None) -> Recording:
        """Go on with a recording after a crash; `next_seq` of it says from which frame on.

        Every frame that has a line is kept, what was half written is cut. One that is open in this recorder
        is given as it is. One whose folder is gone is begun again. Parameters are those of `begin`.

        Raises
        ------
        RecordingRefused
            As `begin`; it was recorded with another shape or type; or another server writes it.
        ServerBusy
            As `begin`.
        """
        self._refuse_behind()
        folder = self.folder / folder_name(spec)
        with self._lock:
            if folder in self._open:
                return self._open[folder]
        if not folder.exists():
            return self.begin(spec, on_written=on_written)
        return self._made(folder, spec, on_written)

    def problem(self) -> str | None:
        """Why recordings are not well, found out within the last second; None when they are."""
        if not self._thread.is_alive():
            return "the thread that writes recordings has ended; restart the server"
        return self._context.disk.problem()

    def queued_bytes(self) -> int:
        """Memory that frames hold that wait to be written."""
        return self._context.queue.held_bytes

    def close(self) -> None:
        """Write all that was queued, and close the files so that they can be read and resumed."""
        self._context.queue.close()
        self._thread.join()
        self._context.closer.shutdown()
        for recording in list(self._open.values()):
            recording.leave()
        self._open.clear()

    def _made(self, folder: Path, spec: RecordingSpec, on_written: Callable[[int], None] | None) -> Recording:
        try:
            if not (folder / DESCRIPTION).exists():
                Description.of(spec).write(folder)
            Description.read(folder).refuse_other(spec, folder)
            return self._opened(folder, on_written)
        except OSError as error:
            raise _refused(folder, error) from error

    def _opened(self, folder: Path, on_written: Callable[[int], None] | None) -> Recording:
        file = lock_frame_log(folder)
        try:
            images = open_images(folder, Description.read(folder))
            repaired = repair(folder, images)
        except BaseException:
            file.close()
            raise
        recording = Recording(folder, images, file, repaired.lines, self._context, on_written=on_written)
        with self._lock:
            self._open[folder] = recording
        _log.info("recording event=recording folder=%s next_seq=%d", folder, recording.next_seq)
        return recording

    def _refuse_without_room(self, spec: RecordingSpec) -> None:
        disk = self._context.disk
        try:
            free = disk.look(now=True)
        except OSError as error:
            raise _refused(self.folder, error) from error
        needed = disk.reserve_bytes + self._least_frames * spec.frame_bytes
        if free < needed:
            raise RecordingRefused(
                f"expected {needed / 1e9:.2f} GB free in {self.folder} to record {self._least_frames} frames "
                f"(with {disk.reserve_bytes / 1e9:.2f} in reserve), got {free / 1e9:.2f}; make room, or OPEN "
                "with save false"
            )

    def _refuse_behind(self) -> None:
        """So that clients which come and go cannot pile up more than those that stay."""
        held = self._context.queue.held_bytes
        if held >= self._most_queued_bytes:
            raise ServerBusy(
                f"{held} bytes of frames wait to be written to {self.folder}, whose disk is too slow; try "
                "again later"
            )

    def _forget(self, folder: Path) -> None:
        with self._lock:
            self._open.pop(folder, None)

    def _run(self) -> None:
        queue, disk = self._context.queue, self._context.disk
        check_at = 0.0
        while not queue.is_over:
            if time.monotonic() >= check_at:
                disk.check()
                check_at = time.monotonic() + LOOK_S
            job = queue.take(LOOK_S)
            if job is None:
                continue
            try:
                job.run()
            except Exception:
                _log.exception("cannot record event=internal_error")
            queue.done(job)
            del job  # or the last frame would be held while nothing comes


def _refused(folder: Path, error: OSError) -> RecordingRefused:
    return RecordingRefused(
        f"expected a folder that can be written for recordings, got {error.strerror} for {folder}; "
        "correct recording.folder or its permissions, or OPEN with save false"
    )
