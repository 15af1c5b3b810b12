"""When a stream has been suspect for so long that whoever feeds it wants to stop."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dimstream_client.messages import PlaneIndex, Result


class StayedSuspect(Exception):
    """More than half of a stream's planes stayed suspect."""


@dataclass
class SuspectWatch:
    """Follows the flags of a stream, plane by plane; frames that were not judged count neither way.

    Parameters
    ----------
    frames : int
        Suspect frames of a plane in a row after which it has stayed suspect.
    """

    frames: int
    _runs: dict[PlaneIndex, int] = field(default_factory=dict)

    def follow(self, result: Result) -> None:
        """Take the next result.

        Raises
        ------
        StayedSuspect
            With this frame more than half of the planes that were judged have stayed suspect, as the server
            tells of streams: the dark ends of a z-stack alone are no reason to stop.
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
