"""How many requests one client may make per second: a token bucket for each client."""

import time
from collections.abc import Hashable
from typing import Final

from dimstream_server.errors import ServerBusy

_MOST_CLIENTS: Final = 4096


class RateLimit:
    """Refuses clients that send too many requests. Only one thread may use it.

    Parameters
    ----------
    per_s : int
        Most requests of one client per second, and at once.
    """

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._left: dict[Hashable, tuple[float, float]] = {}

    def take(self, client: Hashable) -> None:
        """Count a request of a client.

        Raises
        ------
        ServerBusy
            When it sends too many requests; this request is not counted.
        """
        now = time.monotonic()
        left, since = self._left.get(client, (float(self._per_s), now))
        left = min(self._per_s, left + (now - since) * self._per_s)
        if left < 1:
            raise ServerBusy(
                f"this client sends more than {self._per_s} requests per second "
                "(limits.max_requests_per_s_per_client); wait, then try again"
            )
        if client not in self._left and len(self._left) >= _MOST_CLIENTS:
            self._forget_idle(now)
        self._left[client] = left - 1, now

    def _forget_idle(self, now: float) -> None:
        """Remove clients whose buckets are full again, which is equivalent to having none."""
        self._left = {client: stated for client, stated in self._left.items() if now - stated[1] < 1}
