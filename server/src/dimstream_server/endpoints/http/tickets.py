"""Tickets for browsers, which cannot send a token with a WebSocket: each lets one connection in, soon."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

LIFE_S: Final = 30.0
_MOST: Final = 1024
_BYTES: Final = 24
Owner = TypeVar("Owner")


class Tickets(Generic[Owner]):
    """Those that were given out and not used; the event loop owns it.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._owners: dict[bytes, tuple[float, Owner]] = {}  # by digest, oldest first

    def give(self, owner: Owner) -> str:
        """A ticket that lets `owner` in once within `LIFE_S`."""
        now = self._clock()
        for digest, (until, _) in list(self._owners.items()):
            if until > now and len(self._owners) < _MOST:
                break
            del self._owners[digest]
        ticket = secrets.token_urlsafe(_BYTES)
        self._owners[_digest(ticket)] = now + LIFE_S, owner
        return ticket

    def take(self, ticket: str) -> Owner | None:
        """Whose ticket it is; None where it is none, was used or came too late."""
        until, owner = self._owners.pop(_digest(ticket), (0.0, None))
        return owner if until > self._clock() else None


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
