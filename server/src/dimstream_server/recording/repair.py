"""Makes a recording's files consistent: each line has its pixels, and there is no incomplete data after them.

After a crash, at most the frame that was being written is incomplete; it has no line yet and is removed. A
power failure may lose more lines or pixels. Then nothing complete is deleted: pages without a line get one
that states this, and lines without pixels are moved to another file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from dimstream_client import folder_lock
from dimstream_server.errors import RecordingRefused
from dimstream_server.recording.frame_log import FRAME_LOG, FrameLog, read_frame_log, unlisted_line
from dimstream_server.recording.images import Images

SUMS: Final = "SHA256SUMS"
LOST: Final = "frames.lost.jsonl"


@dataclass(frozen=True)
class RepairReport:
    """Results of a repair.

    Parameters
    ----------
    lines : FrameLog
        The present lines.
    cut_bytes : int
        Bytes of an incomplete line that was removed.
    cut_frames : int
        Number of incomplete frames that were removed: 0 or 1.
    unlisted : int
        Pages that had lost their line and got a new one.
    lost : int
        Lines that had lost their pixels and were moved to another file.
    """

    lines: FrameLog
    cut_bytes: int = 0
    cut_frames: int = 0
    unlisted: int = 0
    lost: int = 0


def lock_frame_log(folder: Path) -> FileIO:
    """Open `frames.jsonl` with an exclusive lock; it is created if it is missing.

    The kernel releases the lock when the process dies.

    Raises
    ------
    RecordingRefused
        When a server is writing there.
    OSError
    """
    file = FileIO(folder / FRAME_LOG, "a+")
    try:
        folder_lock.take(file)
    except BlockingIOError:
        file.close()
        raise RecordingRefused(
            f"a running server is writing {folder}; first close its stream, or stop the server"
        ) from None
    except BaseException:
        file.close()
        raise
    return file


def repair(folder: Path, images: Images) -> RepairReport:
    """Repair a recording whose lock is held; afterwards, `images` is ready for the next frame.

    Raises
    ------
    OSError
    """
    path = folder / FRAME_LOG
    (folder / SUMS).unlink(missing_ok=True)
    lines = read_frame_log(path)
    listed = len(lines.recorded)
    whole = images.repair(lines)
    half = lines.size - lines.end
    if whole < listed or lines.damaged:
        lost = _put_aside(folder, lines.starts[whole] if whole < listed else lines.end)
        lines = read_frame_log(path)
        half = 0
    else:
        lost = 0
        os.truncate(path, lines.end)
    beyond = max(0, whole - len(lines.recorded))
    if beyond > 1 or (beyond and lost):
        _list(path, range(len(lines.recorded), whole))
        images.cut(whole)
        return RepairReport(read_frame_log(path), cut_bytes=half, unlisted=beyond, lost=lost)
    images.cut(len(lines.recorded))
    return RepairReport(lines, cut_bytes=half, cut_frames=beyond, lost=lost)


def _put_aside(folder: Path, start: int) -> int:
    """Move the lines from here on to another file, and return their number."""
    with (folder / FRAME_LOG).open("r+b") as file:
        file.seek(start)
        rest = file.read()
        with (folder / LOST).open("ab") as aside:
            aside.write(rest)
            aside.flush()
            os.fsync(aside.fileno())
        file.truncate(start)
    return rest.count(b"\n")


def _list(path: Path, pages: range) -> None:
    with path.open("ab") as file:
        file.writelines(unlisted_line(page) for page in pages)
