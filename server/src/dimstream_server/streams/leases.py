"""How long streams are kept whose clients are away."""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from dimstream_server.streams.journal import Journal
from dimstream_server.streams.journal_thread import JournalThread

SWEEP_S: Final = 30.0  # interval of checking leases


class Leases:
    """Counts the time of streams that are in the journal but not open.

    Parameters
    ----------
    in_use : callable
        Returns the ids of the streams that are open, or being resumed.
    lease_s : float
        How long a stream can be resumed.
    most : int
        Most streams that are kept.
    ended : callable
        Called with the id of each stream whose lease has ended.
    """

    def __init__(
        self,
        journal: JournalThread,
        *,
        in_use: Callable[[], Collection[str]],
        lease_s: float,
        most: int,
        ended: Callable[[str], None],
    ) -> None:
        self._journal = journal
        self._in_use = in_use
        self._lease_s = lease_s
        self._sweep_s = min(SWEEP_S, lease_s / 2)
        self._most = most
        self._ended = ended

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start counting."""
        self._loop = loop
        self._looked_at = loop.time()
        self._sweep = loop.call_later(self._sweep_s, self._pass_time)

    def stop(self) -> None:
        """Stop counting."""
        self._sweep.cancel()

    def _pass_time(self) -> None:
        now = self._loop.time()
        seconds, self._looked_at = now - self._looked_at, now
        in_use = tuple(self._in_use())

        def pass_time(journal: Journal) -> list[str]:
            return journal.pass_time(seconds, in_use=in_use, lease_s=self._lease_s, most=self._most)

        self._journal.put(pass_time, self._tell)
        self._sweep = self._loop.call_later(self._sweep_s, self._pass_time)

    def _tell(self, ended: list[str]) -> None:
        for stream_id in ended:
            self._ended(stream_id)
