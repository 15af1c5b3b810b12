"""One alert, and the notices of it."""

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
        Of what: the id of a stream, or the name of a check or a folder. Rule and subject together name an
        alert.
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
    """What people are sent: that something is wrong, or that this is over.

    Parameters
    ----------
    finding : Finding
        As it was when it was first seen; of a cleared one, as it was last.
    at, since : float
        Now, and when it began; seconds since 1970.
    not_sent : int
        Notices that were left out since the last one, as there were too many.
    stream_has_ended : bool
        Of a cleared one: whether it is over because its stream has ended, and not because all is well.
    """

    event: Event
    finding: Finding
    at: float
    since: float
    not_sent: int = 0
    stream_has_ended: bool = False

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.event != "cleared":
            return self.finding.text
        after = duration(self.at - self.since)
        if self.stream_has_ended:
            return f"the stream has ended, {after} after this alert began: {self.finding.text}"
        return f"well again after {after}: {self.finding.text}"

    def figures(self) -> dict[str, Any]:
        """Return what the body of a web hook holds, as JSON has it."""
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
            "not_sent": self.not_sent,
        }


def duration(seconds: float) -> str:
    """Return a time span for people: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
