"""Which connections stay open: so many in all and of one address, and none that is late.

When there are as many as may be, one is closed so that a new client comes in whatever others do: first those
that have sent no whole request, then those that were answered and are silent, then those whose body comes too
slowly; of these the one that has waited longest. One whose request is worked on stays; where all are, the new
client is told to come again.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

_TURNS_SHARE: Final = 0.2
_BUSY: Final = "server_busy"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of connections.

    Parameters
    ----------
    total, per_address : int
        Open at the same time.
    head_s : float
        From the first byte of a head to its end.
    keep_alive_s : float
        Without a byte, before a first request or between two.
    stall_s : float
        For 1 MiB of an answer to be taken, for the rest of a refused body, for the last bytes to leave.
    min_body_bytes_per_s : int
        Connections whose body comes more slowly may be closed to make room.
    """

    total: int
    per_address: int
    head_s: float
    keep_alive_s: float
    stall_s: float
    min_body_bytes_per_s: int


class Rank(NamedTuple):
    """Which connection is closed to make room: that of the lowest."""

    kind: int
    since: float


class Connection(Protocol):
    """What is asked of a connection."""

    @property
    def address(self) -> str:
        """Where its client is."""

    def rank(self, now: float) -> Rank | None:
        """Where it stands among those that may be closed to make room; None: its request is worked on."""

    def end_if_late(self, now: float) -> None:
        """End it when its time is over."""

    def abort(self) -> None:
        """End it at once."""


class Refusals(Protocol):
    """Who counts and logs what is refused."""

    def count(self, code: str, address: str, reason: str) -> None:
        """One refusal more."""


class Connections:
    """Those that are open. The event loop owns it."""

    def __init__(self, limits: ConnectionLimits, refusals: Refusals) -> None:
        self._limits = limits
        self._refusals = refusals
        self._open: dict[str, dict[Connection, None]] = {}  # by network
        self._count = 0
        self._next_turn = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count

    def add(self, connection: Connection) -> None:
        """Count one that was opened."""
        self._open.setdefault(_network(connection.address), {})[connection] = None
        self._count += 1

    def remove(self, connection: Connection) -> None:
        """Forget one that has ended, unless it was already."""
        network = _network(connection.address)
        mine = self._open.get(network, {})
        if connection not in mine:
            return
        del mine[connection]
        self._count -= 1
        if not mine:
            del self._open[network]

    def make_room(self, address: str, now: float) -> bool:
        """Whether one more connection of this address fits, if need be because another was closed."""
        mine = self._open.get(_network(address), {})
        if len(mine) >= self._limits.per_address and not self._close_one(mine, now):
            return self._refuse(address, "connections of this address (limits.max_connections_per_address)")
        if self._count >= self._limits.total:
            largest_first = sorted(self._open.values(), key=len, reverse=True)
            if not any(self._close_one(one, now) for one in largest_first):
                return self._refuse(address, "connections (http.max_connections)")
        return True

    def next_turn(self, now: float, took_s: float) -> float:
        """When a connection may go on that took `took_s` of the event loop and has more to do.

        All of them together get `_TURNS_SHARE` of it, one after the other.
        """
        self._next_turn = max(self._next_turn, now) + took_s / _TURNS_SHARE
        return self._next_turn

    def end_late_ones(self, now: float) -> None:
        """End those whose time is over."""
        for connection in [one for group in self._open.values() for one in group]:
            connection.end_if_late(now)

    def _close_one(self, candidates: Iterable[Connection], now: float) -> bool:
        ranks = [(rank, one) for one in candidates if (rank := one.rank(now)) is not None]
        if not ranks:
            return False
        _, last = min(ranks, key=lambda ranked: ranked[0])
        self._refusals.count(_BUSY, last.address, "a connection was closed to make room for another")
        self.remove(last)
        last.abort()
        return True

    def _refuse(self, address: str, what: str) -> bool:
        self._refusals.count(_BUSY, address, f"as many {what} as there may be, all of them at work")
        return False


def _network(address: str) -> str:
    """The address of a client, or what one client has of IPv6: 64 bits."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
