"""Records the streams of a server: one folder, one writing thread, and one queue that is bounded by
credit."""

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
"""There must be space for this number of frames when a recording begins."""
_log = logging.getLogger(__name__)


class Recorder:
    """Starts recordings in a folder, and writes them.

    Parameters
    ----------
    folder : Path
        Created if it is missing.
    most_queued_bytes : int
        Memory of all frames that wait to be written, at which no recording is started or resumed.
    reserve_bytes : int
        Free space that recordings leave; at that point they stop.
    warn_bytes : int
        Free space below which a warning is logged.
    fsync : {"never", "close", "frame"}
        When to wait until data are on the disk: see `docs/recording.md`.
    least_frames : int
        There must be space for this number of frames when a recording begins.

    Raises
    ------
    RecordingRefused
        When the folder cannot be created.
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
        """Start a recording. This creates files, so call it in a worker thread.

        Parameters
        ----------
        on_written : callable, optional
            Called in the writer's thread with the number of each frame when it is on the disk, or when the
            recording has stopped without it. It must only pass the number on.

        Raises
        ------
        RecordingRefused
            When the folder is not writable, the disk is too small, or there is already such a recording.
        ServerBusy
            When the disk is too slow.
        """
        self._refuse_behind()
        self._refuse_without_room(spec)
        folder = self.folder / folder_name(spec)
        try:
            folder.mkdir()
        except FileExistsError:
            raise RecordingRefused(f"the recording {folder} already exists; resume it") from None
        except OSError as error:
            raise _refused(folder, error) from error
        try:
            return self._made(folder, spec, on_written)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # it has no frames yet
            raise

    def resume(self, spec: RecordingSpec, *, on_written: Callable[[int], None] | None = None) -> Recording:
        """Continue a recording after a crash, from its `next_seq` on.

        Every frame with a line is kept; incomplete data are removed. If the recording is still open, it is
        returned unchanged. If its folder is missing, it is started again. Parameters are those of `begin`.

        Raises
        ------
        RecordingRefused
            As `begin`; also when it was recorded with another shape or type, or another server writes it.
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
        """Return what is wrong with recordings, checked within the last second; None if nothing."""
        if not self._thread.is_alive():
            return "the thread that writes recordings has ended; restart the server"
        return self._context.disk.problem()

    def queued_bytes(self) -> int:
        """Memory of the frames that wait to be written, bytes."""
        return self._context.queue.held_bytes

    def close(self) -> None:
        """Write everything in the queue, and close the files so that they can be read and resumed."""
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
                f"(with {disk.reserve_bytes / 1e9:.2f} in reserve), got {free / 1e9:.2f}; free some space, "
                "or OPEN with save false"
            )

    def _refuse_behind(self) -> None:
        """Refuse new recordings while too many frames wait to be written."""
        held = self._context.queue.held_bytes
        if held >= self._most_queued_bytes:
            raise ServerBusy(
                f"{held} bytes of frames are waiting to be written to {self.folder}, because its disk is "
                "too slow; try again later"
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
            del job  # otherwise the last frame would stay in memory until the next one


def _refused(folder: Path, error: OSError) -> RecordingRefused:
    return RecordingRefused(
        f"expected a writable folder for recordings, got {error.strerror} for {folder}; correct "
        "recording.folder or its permissions, or OPEN with save false"
    )
