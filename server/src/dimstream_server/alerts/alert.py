"""One alert, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Rule = Literal[
    "frames_stop", "frames_dropped", "recording_stops", "disk_fills", "suspect", "forecast", "not_ready"
]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
Event = Literal["raised", "cleared", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong now.

    Parameters
    ----------
    rule : str
        What kind of thing it is.
    subject : str
        Of what: the id of a stream, or the name of a check or a folder. One alert stands for a rule and a
        subject.
    text : str
        What is wrong, in one sentence for people.
    stream, client : str or None
        Id of the stream and whose it is; None of the server as a whole.
    seq : int or None
        The stream's frame with which it was seen; None where no frame has to do with it.
    """

    rule: Rule
    subject: str
    text: str
    stream: str | None = None
    client: str | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What people are told: that something is wrong, or that it is well again.

    Parameters
    ----------
    finding : Finding
        As it was when it was first seen; of a cleared one, as it was last.
    at, since : float
        Now, and when it began; seconds since 1970.
    not_told : int
        Notices that were left out since the last one, as there were too many.
    """

    event: Event
    finding: Finding
    at: float
    since: float
    not_told: int = 0

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.event == "cleared":
            return f"well again after {duration(self.at - self.since)}: {self.finding.text}"
        return self.finding.text

    def figures(self) -> dict[str, Any]:
        """Return what stands in the body of a web hook, as JSON holds it."""
        finding = self.finding
        return {
            "event": self.event,
            "rule": None if self.event == "test" else finding.rule,
            "subject": finding.subject,
            "text": self.text,
            "stream": finding.stream,
            "client": finding.client,
            "seq": finding.seq,
            "at": round(self.at, 3),
            "since": round(self.since, 3),
            "not_told": self.not_told,
        }


def duration(seconds: float) -> str:
    """Return a time span for people: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
