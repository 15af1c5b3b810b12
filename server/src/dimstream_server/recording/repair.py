"""Bring a recording's files to one state: each line has its pixels, and nothing half written follows.

What a kill leaves is at most the frame being written, which has no line yet and is cut. A power failure may
lose more, of lines or of pixels: then nothing whole is thrown away. Pages without a line get one that says
so, and lines without pixels are put aside.
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
    """What there was and what became of it.

    Parameters
    ----------
    lines : FrameLog
        As they are now.
    cut_bytes : int
        Of a line that was half written.
    cut_frames : int
        The frame that was being written: 0 or 1.
    unlisted : int
        Pages that got a line, having lost their own.
    lost : int
        FrameLog that were put aside, having lost their pixels.
    """

    lines: FrameLog
    cut_bytes: int = 0
    cut_frames: int = 0
    unlisted: int = 0
    lost: int = 0


def lock_frame_log(folder: Path) -> FileIO:
    """`frames.jsonl`, opened, which nobody else has open to write; made when it is missing.

    The kernel lets go of the lock when its holder dies.

    Raises
    ------
    RecordingRefused
        A server is writing there.
    OSError
    """
    file = FileIO(folder / FRAME_LOG, "a+")
    try:
        folder_lock.take(file)
    except BlockingIOError:
        file.close()
        raise RecordingRefused(
            f"{folder} is being written by a running server; close its stream, or stop the server, first"
        ) from None
    except BaseException:
        file.close()
        raise
    return file


def repair(folder: Path, images: Images) -> RepairReport:
    """Repair a recording whose lock is held; afterwards `images` is ready for the next frame.

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
    """Move the lines from here on into another file; how many there were."""
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
