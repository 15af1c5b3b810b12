"""Whether a peer is still there: when it was heard, when it has to be asked, when it is given up."""

from __future__ import annotations

import math
from typing import Final

PINGS: Final = 3  # while a peer is silent, before it is given up


class Liveness:
    """Of one connection.

    Parameters
    ----------
    now : float
        Seconds, by the clock that all calls use.
    """

    def __init__(self, now: float) -> None:
        self.heard_at = now
        self.answers_pings = False  # ZMTP 3.1; one of 3.0 would take a ping for a message
        self._pinged_at = now
        self._promised_until = math.inf

    def hear(self, now: float) -> None:
        """Take note that the peer did something."""
        self.heard_at, self._promised_until = now, math.inf

    def promise(self, now: float, ttl_tenths: int) -> None:
        """Take note of a PING's time to live: the peer says that it will be heard again by then."""
        if ttl_tenths:
            self._promised_until = now + ttl_tenths / 10

    def pinged(self, now: float) -> None:
        """Take note that the peer was asked."""
        self._pinged_at = now

    def wants_ping(self, now: float, silence_s: float) -> bool:
        """Whether it is time to ask."""
        return self.answers_pings and now - max(self.heard_at, self._pinged_at) >= silence_s / PINGS

    def why_given_up(self, now: float, silence_s: float) -> str:
        """Why the peer has to be taken for gone; empty while it has not."""
        if now > self._promised_until:
            return "nothing was heard of it within the time that its own ping gave"
        if self.answers_pings and now - self.heard_at > silence_s:
            return f"nothing was heard of it for {silence_s:g} s (zmq.silence_s)"
        return ""

    def is_absent(self, now: float, silence_s: float) -> bool:
        """Whether a ping has been left unanswered for a while, though not for so long as to be given up."""
        return self._pinged_at > self.heard_at and now - self.heard_at > 1.5 * silence_s / PINGS
