"""When a whole stream becomes suspect, and when it is good again, for the operator.

Good movies have single suspect frames too, and the edge planes of a z-stack are always suspect. So a plane
counts as suspect after several judged frames in a row, and a stream when more than half of its planes do.
"""

from __future__ import annotations

from dataclasses import dataclass

from dimstream_models.judging import FlagName
from dimstream_server.engine.resume_state import Plane


@dataclass(frozen=True, slots=True)
class FlagChange:
    """A stream has become suspect, or good again.

    Parameters
    ----------
    stream, client, model : str
        Its id, its client, and its model.
    is_suspect : bool
        Whether it has become suspect.
    seq : int
        The frame with which it changed.
    reason : str or None
        Why that frame is suspect.
    suspect_planes, planes : int
        Number of suspect (channel, z, position) planes, and of all planes.
    at : float
        Time of the change, seconds since 1970.
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
    against: int = 0  # judged frames in a row with the opposite flag


class FlagWatch:
    """Tracks the flags of one stream; frames that are sent again after a resumption are ignored.

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
        """Number of planes with a judged frame."""
        return len(self._planes)

    def judged(self, seq: int, plane: Plane, flag: FlagName) -> bool:
        """Record a frame's flag; return whether the stream has become suspect, or good again, with it."""
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
