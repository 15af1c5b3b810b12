"""What became of the frames of one run."""

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
        Runs are counted from 1.
    seen : int
        Frames that came from the microscope.
    sent : int
        Of these, how many a stream took.
    no_room : int
        How many came while the queue in memory was full; they are holes in the stream.
    refused : int
        How many the server or the client refused.
    missing : int
        Frames of the plan that never came here; holes, too.
    not_taken : int
        Frames of the plan that were not taken, because the run was ended early.
    passed_over : int
        In Live mode: images of the camera between two that were sent.
    unexpected, late : int
        Frames that the plan does not have, and that came after later ones of the plan. They are sent, too.
    not_delivered : int
        Results that came and on which `on_result` failed.
    flags : dict of str to int
        How many results had each flag, or status ``failed``.
    streams : list of str
        The server's names of the streams.
    end : str
        ``finished``, ``canceled``, or how else the end was found; empty while the run goes on.
    problems : list of str
        What went wrong, the first 64.
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
        """Results that came."""
        return sum(self.flags.values())

    @property
    def is_complete(self) -> bool:
        """Whether every frame that came, and every one that was planned and taken, has its result."""
        lost = self.no_room + self.refused + self.missing + self.not_delivered
        return not lost and self.answered == self.sent == self.seen

    def add(self, **counts: int) -> None:
        """Add to counts, from any thread."""
        with self._lock:
            for name, n in counts.items():
                setattr(self, name, getattr(self, name) + n)

    def note(self, problem: str) -> None:
        """Keep and log what went wrong."""
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
