"""What was decided for a frame, why, and what became of it; one JSON line each."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, TextIO

from dimstream_client.errors import ArgumentError, Code
from dimstream_client.messages import PlaneIndex
from dimstream_client.quality import plain

Mode = Literal["advise", "rehearse", "act"]
Outcome = Literal["noted", "advised", "rehearsed", "due", "done", "refused", "failed"]


@dataclass(frozen=True)
class Decision:
    """One decision.

    Parameters
    ----------
    time : float
        When it was made, seconds since 1970.
    rule, reason
        Which rule, and what it rests on.
    action : str
        ``note``, ``pause``, ``stop`` or ``change``.
    what, old, new
        Of a change: the thing, its value at the frame, and the value for the events to come.
    outcome : str
        ``noted``; ``advised``, to a person; ``rehearsed``: checked, and not done; ``due``: about to be done;
        ``done``; ``refused`` by the limits or before anything was touched; ``failed``.
    detail : str
        More about the outcome.
    """

    time: float
    mode: Mode
    rule: str
    seq: int
    index: PlaneIndex
    action: str
    reason: str
    outcome: Outcome
    what: str | None = None
    old: float | None = None
    new: float | None = None
    detail: str = ""

    def __str__(self) -> str:
        change = f" {self.what} from {self.old:g} to {self.new:g}" if self.new is not None else ""
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"{self.outcome}: {self.action}{change}{detail}, by rule {self.rule!r}, "
            f"frame {self.seq}: {self.reason}"
        )


def line_of(decision: Decision) -> str:
    """Return a decision as a JSON line, without its end."""
    time = datetime.fromtimestamp(decision.time, timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps({**plain(decision), "time": time})


class DecisionLog:
    """A file of JSON lines; lines are added to one that is there.

    Raises
    ------
    ArgumentError
        The file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file: TextIO = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise ArgumentError(
                Code.BAD_FIELD, f"the decisions cannot be written to {self.path}: {error.strerror}"
            ) from error

    def write(self, decision: Decision) -> None:
        """Add a line, which is in the file when this returns.

        Raises
        ------
        OSError
        """
        self._file.write(line_of(decision) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> DecisionLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
