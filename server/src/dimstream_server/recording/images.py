"""The interface for writing the pixels of a recording; `formats` chooses the implementation."""

from __future__ import annotations

from typing import Protocol

from dimstream_server.recording.frame_log import FrameLog
from dimstream_server.recording.spec import RecordedFrame


class Images(Protocol):
    """The images of one recording. Only one thread at a time may use it."""

    def append(self, frame: RecordedFrame) -> None:
        """Write the frame's pixels: raw, denoised, support map, error bars.

        Raises
        ------
        OSError, ValueError
            When writing fails; the frame must not count as recorded.
        """

    def repair(self, lines: FrameLog) -> int:
        """Remove incomplete frames, and return the number of complete frames.

        If there are more lines, pixels were lost in a power failure. If there are fewer lines by more than
        one, lines were lost.

        Raises
        ------
        OSError
        """

    def cut(self, frames: int) -> None:
        """Keep this number of frames, and prepare for the next one.

        Raises
        ------
        OSError
        """

    def finalise(self, lines: FrameLog) -> None:
        """Write the metadata.

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
