"""Wait for a server that is lost or busy, and detect files that it cannot process."""

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
"""Attempts without an answer of a running server, after which the file counts as the cause."""
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0


class Unanswered(DimstreamError):
    """The server runs, but several times gave no answer for one file."""

    def __init__(self, detail: str) -> None:
        super().__init__(Code.TIMEOUT, detail)


@dataclass(frozen=True)
class Patience:
    """Waits for a server, up to a limit.

    Parameters
    ----------
    ask : callable
        Checks that the server answers; raises `ConnectionLost` or `Timeout`.
    for_s : float
        Longest wait, seconds; infinity: without limit.
    say : callable
        Called with a message when a wait begins.
    """

    ask: Callable[[], object]
    for_s: float
    say: Callable[[str], None]

    def do(self, action: Callable[[], T]) -> T:
        """Return the result of the action; try again if the server was lost or too busy.

        Raises
        ------
        ConnectionLost
            When the server is lost for too long, or does not accept the key.
        Unanswered DimstreamError, OSError
            Other errors of the action.
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
