"""How long streams whose clients are away are kept."""

import asyncio
from collections.abc import Callable
from typing import Final

from dimstream_server.streams.journal import Journal
from dimstream_server.streams.registry import StreamRegistry

SWEEP_S: Final = 30.0  # how often leases are looked at


class Leases:
    """Lets time pass for streams that are in the journal and not open.

    Parameters
    ----------
    lease_s : float
        How long a stream can be resumed.
    most : int
        Streams that are kept at once.
    ended : callable
        Called with the id of each stream whose lease has ended.
    """

    def __init__(
        self,
        journal: Journal,
        registry: StreamRegistry,
        *,
        lease_s: float,
        most: int,
        ended: Callable[[str], None],
    ) -> None:
        self._journal = journal
        self._registry = registry
        self._lease_s = lease_s
        self._sweep_s = min(SWEEP_S, lease_s / 2)
        self._most = most
        self._ended = ended

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count time from now on."""
        self._loop = loop
        self._looked_at = loop.time()
        self._sweep = loop.call_later(self._sweep_s, self._pass_time)

    def stop(self) -> None:
        """Count no more."""
        self._sweep.cancel()

    def _pass_time(self) -> None:
        now = self._loop.time()
        ended = self._journal.pass_time(
            now - self._looked_at,
            in_use=[stream.id for stream in self._registry if not stream.is_request],
            lease_s=self._lease_s,
            most=self._most,
        )
        self._looked_at = now
        for stream_id in ended:
            self._ended(stream_id)
        self._sweep = self._loop.call_later(self._sweep_s, self._pass_time)
