"""Lines of a scan, counted to frames: Imspector tells of the end of each line, and of no frame."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FramePlace:
    """Where a frame lies in the stacks of a measurement, and what it counts.

    Parameters
    ----------
    z, slot : int
        Its plane, and its place along the stacks' own time axis, where a loop writes over it.
    t : int
        Time point since the start.
    """

    z: int
    slot: int
    t: int


class LineCounter:
    """Counts lines; z runs faster than time.

    Parameters
    ----------
    lines_per_frame, planes, slots : int
        Lines of a frame, planes of a time point, time points that the stacks hold.
    """

    def __init__(self, lines_per_frame: int, planes: int, slots: int) -> None:
        self._lines_per_frame, self._planes, self._slots = lines_per_frame, planes, slots
        self._line = 0
        self._frame = 0

    def end_of_line(self) -> FramePlace | None:
        """Return the frame that this line completes; None while it is not complete."""
        self._line += 1
        if self._line < self._lines_per_frame:
            return None
        self._line = 0
        t, z = divmod(self._frame, self._planes)
        self._frame += 1
        return FramePlace(z, t % self._slots, t)

    def end_of_measurement(self) -> int:
        """Begin with the next frame of a time point; return the lines of the frame that was broken off."""
        lines, self._line = self._line, 0
        if lines:
            self._frame += 1
        if self._frame % self._planes:
            self._frame += self._planes - self._frame % self._planes
        return lines
