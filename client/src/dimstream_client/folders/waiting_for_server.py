"""Waits for a server that is away or busy, and tells that from a file with which it cannot deal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from dimstream_client.errors import (
    Code,
    ConnectionLost,
    DimstreamError,
    NotAdmitted,
    StreamError,
    Timeout,
)

T = TypeVar("T")
ATTEMPTS: Final = 3
"""Of what ends without an answer although the server is there: then it is the file that does it."""
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0


class Unanswered(DimstreamError):
    """The server is there, and gave no answer to one file several times."""

    def __init__(self, detail: str) -> None:
        super().__init__(Code.TIMEOUT, detail)


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for, and who is told.

    Parameters
    ----------
    ask : callable
        Asks whether the server is there; raises `ConnectionLost` or `Timeout`.
    for_s : float
        Of one absence; infinity: for ever.
    say : callable
        Told when an absence begins.
    """

    ask: Callable[[], object]
    for_s: float
    say: Callable[[str], None]

    def do(self, action: Callable[[], T]) -> T:
        """Return what the action gives; try again when the server was away, or too busy.

        Raises
        ------
        ConnectionLost
            The server was away for too long, or does not know the key.
        Unanswered
        DimstreamError, OSError
            What else the action raises.
        """
        attempts, busy_since = 0, None
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return action()
            except NotAdmitted:
                raise
            except (ConnectionLost, Timeout) as error:
                attempts += 1
                if attempts == ATTEMPTS:
                    raise Unanswered(f"{attempts} times no answer came: {error.detail}") from error
                self._wait(error)
            except StreamError as error:
                if not error.problem.retryable:
                    raise
                busy_since = busy_since or time.monotonic()
                if time.monotonic() - busy_since > self.for_s:
                    raise
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _wait(self, lost: DimstreamError) -> None:
        """Return when the server answers."""
        since, pause_s, is_reported = time.monotonic(), _FIRST_PAUSE_S, False
        while True:
            try:
                self.ask()
                return
            except NotAdmitted:
                raise
            except (ConnectionLost, Timeout) as error:
                if time.monotonic() - since > self.for_s:
                    raise ConnectionLost(error.detail) from error
            if not is_reported:
                self.say(f"waiting for the server: {lost.detail}")
                is_reported = True
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
