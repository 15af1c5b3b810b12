"""Which connection is closed to make room for another."""

import resource
from dataclasses import dataclass, field

import pytest

from dimstream_server.endpoints.http import server
from dimstream_server.endpoints.http.connections import ConnectionLimits, Connections, Rank
from dimstream_server.settings_file import make_settings

SILENT, KEPT, SLOW = 1, 2, 3


@dataclass(eq=False)
class Held:
    """A connection that was opened, and does what a test says."""

    address: str
    told: Rank | None
    is_open: bool = True

    def rank(self, now: float) -> Rank | None:
        return self.told

    def end_if_late(self, now: float) -> None:
        self.is_open = now < 10

    def abort(self) -> None:
        self.is_open = False


@dataclass
class Counted:
    """Refusals that were counted."""

    of: list[str] = field(default_factory=list)

    def count(self, code: str, address: str, reason: str) -> None:
        self.of.append(address)


def connections(total: int, per_address: int, *open_ones: Held) -> tuple[Connections, Counted]:
    counted = Counted()
    made = Connections(ConnectionLimits(total, per_address, 1, 1, 1, 1), counted)
    for one in open_ones:
        made.add(one)
    return made, counted


def test_there_is_room_until_the_limit() -> None:
    only = Held("10.0.0.1", None)
    made, counted = connections(2, 2, only)
    assert made.make_room("10.0.0.1", 0)
    assert only.is_open
    assert not counted.of


@pytest.mark.parametrize(
    ("ranks", "goes"),
    [
        ([Rank(KEPT, 1), Rank(SILENT, 5), Rank(SILENT, 4), None], 2),
        ([Rank(SLOW, 1), Rank(KEPT, 9), None, None], 1),
        ([None, Rank(SLOW, 7), Rank(SLOW, 6), None], 2),
    ],
)
def test_the_one_that_is_used_least_and_waits_longest_is_closed(ranks: list[Rank | None], goes: int) -> None:
    held = [Held("10.0.0.1", rank) for rank in ranks]
    made, counted = connections(4, 4, *held)
    assert made.make_room("10.0.0.1", 0)
    assert [one.is_open for one in held] == [number != goes for number in range(4)]
    assert made.count == 3
    made.remove(held[goes])  # as its end is told later
    assert made.count == 3
    assert counted.of == ["10.0.0.1"]


def test_the_address_with_most_connections_pays_for_others() -> None:
    flood = [Held("10.0.0.1", Rank(KEPT, number)) for number in range(3)]
    other = Held("10.0.0.2", Rank(SILENT, 0))
    made, _ = connections(4, 4, other, *flood)
    assert made.make_room("10.0.0.3", 0)
    assert [one.is_open for one in (other, *flood)] == [True, False, True, True]


def test_an_address_over_its_limit_pays_itself() -> None:
    mine = Held("10.0.0.1", Rank(KEPT, 9))
    other = Held("10.0.0.2", Rank(SILENT, 0))
    made, _ = connections(9, 1, other, mine)
    assert made.make_room("10.0.0.1", 0)
    assert (mine.is_open, other.is_open) == (False, True)


@pytest.mark.parametrize(("total", "per_address"), [(2, 2), (9, 2)])
def test_where_all_are_at_work_the_next_is_refused(total: int, per_address: int) -> None:
    held = [Held("10.0.0.1", None), Held("10.0.0.1", None)]
    made, counted = connections(total, per_address, *held)
    assert not made.make_room("10.0.0.1", 0)
    assert all(one.is_open for one in held)
    assert counted.of == ["10.0.0.1"]
    assert made.make_room("10.0.0.2", 0) == (total == 9)


def test_one_client_of_ipv6_has_many_addresses() -> None:
    first = Held("2001:db8::1", Rank(SILENT, 0))
    made, _ = connections(9, 1, first)
    assert made.make_room("2001:db8:0:0:1::1", 0)
    assert made.make_room("2001:db8:0:1::1", 0)
    assert not first.is_open
    mapped = Held("::ffff:10.0.0.1", Rank(SILENT, 0))
    made.add(mapped)
    assert made.make_room("10.0.0.1", 0)
    assert not mapped.is_open


def test_those_that_are_late_are_ended() -> None:
    held = Held("10.0.0.1", None)
    made, _ = connections(9, 9, held)
    made.end_late_ones(9)
    assert held.is_open
    made.end_late_ones(11)
    assert not held.is_open


@pytest.mark.parametrize(
    ("descriptors", "total", "per_address"),
    [(256, 128, 64), (1024, 512, 256), (10**6, 512, 256), (4, 2, 1), (resource.RLIM_INFINITY, 512, 256)],
)
def test_connections_leave_half_of_the_descriptors(
    monkeypatch: pytest.MonkeyPatch, descriptors: int, total: int, per_address: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    limits = server.connection_limits(make_settings({}, source="test"))
    assert (limits.total, limits.per_address) == (total, per_address)
