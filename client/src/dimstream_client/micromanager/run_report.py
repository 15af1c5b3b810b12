"""Report on the frames of one run."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Final

from dimstream_client.quality import FrameResult

_MOST_PROBLEMS: Final = 64
_log = logging.getLogger("dimstream")


@dataclass
class RunReport:
    """Counts of one run.

    Parameters
    ----------
    number : int
        Number of the run, from 1.
    seen : int
        Number of frames from the microscope.
    sent : int
        Number of these that were sent.
    no_room : int
        Number of frames that came while the queue in memory was full; they are gaps in the stream.
    refused : int
        Number of frames that the server or the client refused.
    missing : int
        Number of planned frames that did not come; also gaps.
    not_taken : int
        Number of planned frames that were not taken because the run was ended early.
    passed_over : int
        In Live mode: number of images between those that were sent.
    unexpected, late : int
        Number of frames that are not in the plan, and that came after later ones of the plan. They are also
        sent.
    not_delivered : int
        Number of results on which `on_result` failed.
    flags : dict of str to int
        Number of results with each flag, or with status ``failed``.
    streams : list of str
        The server's ids of the streams.
    end : str
        ``finished``, ``canceled``, or how the end was found otherwise; empty during the run.
    problems : list of str
        The first 64 errors.
    """

    number: int
    seen: int = 0
    sent: int = 0
    no_room: int = 0
    refused: int = 0
    missing: int = 0
    not_taken: int = 0
    passed_over: int = 0
    unexpected: int = 0
    late: int = 0
    not_delivered: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    streams: list[str] = field(default_factory=list)
    end: str = ""
    problems: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def answered(self) -> int:
        """Number of results."""
        return sum(self.flags.values())

    @property
    def is_complete(self) -> bool:
        """Whether all received frames, and all planned frames that were taken, have a result."""
        lost = self.no_room + self.refused + self.missing + self.not_delivered
        return not lost and self.answered == self.sent == self.seen

    def add(self, **counts: int) -> None:
        """Add to counts; can be called by any thread."""
        with self._lock:
            for name, n in counts.items():
                setattr(self, name, getattr(self, name) + n)

    def note(self, problem: str) -> None:
        """Store and log an error."""
        _log.error("run %d: %s", self.number, problem)
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(problem)

    def count(self, result: FrameResult) -> None:
        """Count a result."""
        flag = result.flag if result.status == "done" else "failed"
        with self._lock:
            self.flags[flag] = self.flags.get(flag, 0) + 1

    def __str__(self) -> str:
        parts = [f"{n} {flag}" for flag, n in sorted(self.flags.items())]
        for name, text in _LOSSES.items():
            if n := getattr(self, name):
                parts.append(f"{n} {text}")
        results = ", ".join(parts) or "no results"
        return f"run {self.number}: {self.seen} frames, {results}; {self.end or 'running'}"


_LOSSES: Final = {
    "no_room": "lost for want of memory",
    "refused": "refused",
    "missing": "never came",
    "not_taken": "not taken",
    "not_delivered": "whose results the program could not take",
    "passed_over": "passed over in Live mode",
}
