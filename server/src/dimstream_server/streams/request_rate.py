"""How many requests one client may make in a second: a bucket of tokens for each, refilled all the time."""

import time
from collections.abc import Hashable
from typing import Final

from dimstream_server.errors import ServerBusy

_MOST_CLIENTS: Final = 4096


class RateLimit:
    """Refuses clients that ask too often. One thread owns it.

    Parameters
    ----------
    per_s : int
        Requests of one client in a second, and as many at once.
    """

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._left: dict[Hashable, tuple[float, float]] = {}

    def take(self, client: Hashable) -> None:
        """Count a request of a client.

        Raises
        ------
        ServerBusy
            It asks too often; this request is not counted.
        """
        now = time.monotonic()
        left, since = self._left.get(client, (float(self._per_s), now))
        left = min(self._per_s, left + (now - since) * self._per_s)
        if left < 1:
            raise ServerBusy(
                f"this client asks more than {self._per_s} times a second "
                "(limits.max_requests_per_s_per_client); wait, then try again"
            )
        if client not in self._left and len(self._left) >= _MOST_CLIENTS:
            self._forget_idle(now)
        self._left[client] = left - 1, now

    def _forget_idle(self, now: float) -> None:
        """Forget those whose buckets are full again, which is the same as having none."""
        self._left = {client: stated for client, stated in self._left.items() if now - stated[1] < 1}
