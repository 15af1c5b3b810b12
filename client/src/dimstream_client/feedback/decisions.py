"""Decisions about frames, with reason and outcome; one JSON line each."""

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
        Time of the decision, seconds since 1970.
    rule, reason
        Name of the rule, and why it applied.
    action : str
        ``note``, ``pause``, ``stop`` or ``change``.
    what, old, new
        For a change: the setting, its value at the frame, and its value for the next events.
    outcome : str
        ``noted``; ``advised``; ``rehearsed``: checked but not done; ``due``: will be done now; ``done``;
        ``refused`` because of the limits or by the driver, without an effect; ``failed``.
    detail : str
        Further details of the outcome.
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
    """Return a decision as a JSON line, without a newline."""
    time = datetime.fromtimestamp(decision.time, timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps({**plain(decision), "time": time})


class DecisionLog:
    """A file of JSON lines; lines are appended to an existing file.

    Raises
    ------
    ArgumentError
        When the file cannot be opened.
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
        """Append a line; it is in the file when this returns.

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
