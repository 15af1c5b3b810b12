"""Where the pixels of a recording go: one interface; `formats` chooses who fills it."""

from __future__ import annotations

from typing import Protocol

from dimstream_server.recording.frame_log import FrameLog
from dimstream_server.recording.spec import RecordedFrame


class Images(Protocol):
    """The images of one recording; used by one thread at a time."""

    def append(self, frame: RecordedFrame) -> None:
        """Write the frame's pixels: raw, denoised, support map, error bars.

        Raises
        ------
        OSError, ValueError
            The frame must not count as recorded.
        """

    def repair(self, lines: FrameLog) -> int:
        """Give up what was half written; how many whole frames there are.

        When the lines name more, lines were kept that pixels were not (a power failure). When they name
        fewer by more than one, lines were lost.

        Raises
        ------
        OSError
        """

    def cut(self, frames: int) -> None:
        """Keep so many frames, and be ready for the next.

        Raises
        ------
        OSError
        """

    def finalise(self, lines: FrameLog) -> None:
        """Put the metadata in.

        Raises
        ------
        OSError
        """

    def sync(self) -> None:
        """Wait until everything is on the disk.

        Raises
        ------
        OSError
        """

    def close(self) -> None:
        """Close the files."""
