"""When a whole stream turns suspect, and when it comes back: what an operator is told of its flags.

A single suspect frame happens in good movies, too, and the edge planes of a z-stack are suspect for good. So
a plane counts as suspect after several judged frames in a row, and a stream when more than half of its planes
do.
"""

from __future__ import annotations

from dataclasses import dataclass

from dimstream_models.judging import FlagName
from dimstream_server.engine.resume_state import Plane


@dataclass(frozen=True, slots=True)
class FlagChange:
    """A stream has turned suspect, or has come back.

    Parameters
    ----------
    stream, client, model : str
        Its id, whose it is, and what denoises it.
    is_suspect : bool
        Whether it has turned suspect.
    seq : int
        The frame with which it changed.
    reason : str or None
        Why that frame is suspect.
    suspect_planes, planes : int
        How many (channel, z, position) planes are suspect, of how many.
    at : float
        Seconds since 1970.
    """

    stream: str
    client: str
    model: str
    is_suspect: bool
    seq: int
    reason: str | None
    suspect_planes: int
    planes: int
    at: float


@dataclass(slots=True)
class _PlaneRun:
    is_suspect: bool = False
    against: int = 0  # judged frames in a row that say the opposite


class FlagWatch:
    """Follows the flags of one stream; frames that come again after a resumption are passed over.

    Parameters
    ----------
    after : int
        Judged frames in a row after which a plane counts as suspect, or as good again.
    """

    def __init__(self, after: int) -> None:
        self.is_suspect = False
        self.suspect_planes = 0
        self._after = after
        self._planes: dict[Plane, _PlaneRun] = {}
        self._last_seq = -1

    @property
    def planes(self) -> int:
        """Planes of which a frame was judged."""
        return len(self._planes)

    def judged(self, seq: int, plane: Plane, flag: FlagName) -> bool:
        """Take a frame's flag; whether the stream has turned suspect, or come back, with it."""
        if seq <= self._last_seq:
            return False
        self._last_seq = seq
        if flag == "unjudged":
            return False
        run = self._planes.setdefault(plane, _PlaneRun())
        run.against = 0 if (flag == "suspect") == run.is_suspect else run.against + 1
        if run.against >= self._after:
            run.is_suspect, run.against = not run.is_suspect, 0
            self.suspect_planes += 1 if run.is_suspect else -1
        was_suspect, self.is_suspect = self.is_suspect, 2 * self.suspect_planes > len(self._planes)
        return self.is_suspect != was_suspect
