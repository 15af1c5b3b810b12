"""Stop a stream when its frames have been suspect for too long."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dimstream_client.messages import PlaneIndex, Result


class StayedSuspect(Exception):
    """More than half of a stream's planes stayed suspect."""


@dataclass
class SuspectWatch:
    """Counts consecutive suspect frames for each plane of a stream; unjudged frames are ignored.

    Parameters
    ----------
    frames : int
        Number of consecutive suspect frames after which a plane counts as suspect.
    """

    frames: int
    _runs: dict[PlaneIndex, int] = field(default_factory=dict)

    def follow(self, result: Result) -> None:
        """Count the next result.

        Raises
        ------
        StayedSuspect
            When more than half of the judged planes now count as suspect. The server uses the same rule for
            streams, so the dark ends of a z-stack alone do not stop it.
        """
        if result.flag == "unjudged":
            return
        plane = replace(result.index, t=0)
        self._runs[plane] = self._runs.get(plane, 0) + 1 if result.flag == "suspect" else 0
        stayed = sum(run >= self.frames for run in self._runs.values())
        if 2 * stayed > len(self._runs):
            planes = "" if len(self._runs) == 1 else f" of {stayed} of {len(self._runs)} planes"
            raise StayedSuspect(
                f"{self.frames} frames in a row{planes} are suspect, up to frame {result.seq}:"
                f" {result.reason}; stopped there (--fail-on-suspect). What came is written"
            )
