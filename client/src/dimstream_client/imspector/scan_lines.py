"""Count the lines of a scan to find frames, because Imspector reports only the end of each line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FramePlace:
    """Position of a frame in the stacks of a measurement.

    Parameters
    ----------
    z, slot : int
        Its plane, and its index along the time axis of the stacks, which a loop overwrites.
    t : int
        Number of the time point since the start.
    """

    z: int
    slot: int
    t: int


class LineCounter:
    """Counts lines; z is faster than time.

    Parameters
    ----------
    lines_per_frame, planes, slots : int
        Number of lines of a frame, planes of a time point, and time points in the stacks.
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
        """Start the next frame; return the number of lines of the incomplete frame."""
        lines, self._line = self._line, 0
        if lines:
            self._frame += 1
        if self._frame % self._planes:
            self._frame += self._planes - self._frame % self._planes
        return lines
