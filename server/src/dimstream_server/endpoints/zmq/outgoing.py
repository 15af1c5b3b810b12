"""A message on its way to a peer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Part = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that may have to wait for room.

    Parameters
    ----------
    make : callable
        Its parts, made when it is the peer's next, so that a RESULT carries the credit of then.
    sent, lost : callable, optional
        Called once: it was handed to the connection, or never can be, because the peer is gone.
    owed : bool
        Never dropped for want of room. What is not owed (a reply to something a peer may send without end)
        is dropped when the peer does not read.
    """

    make: Callable[[], Sequence[Part]]
    sent: Callable[[], None] | None = None
    lost: Callable[[], None] | None = None
    owed: bool = False
