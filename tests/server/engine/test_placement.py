"""Where streams are placed: checked on the placement alone, with speeds that are made up."""

from hypothesis import given
from hypothesis import strategies as st

from dimstream_server.engine.placement import Placement

ALIKE = [1e-7] * 8


@given(devices=st.integers(1, 8), streams=st.integers(0, 40))
def test_streams_alike_are_spread_evenly(devices: int, streams: int) -> None:
    placement = Placement(devices)
    for n in range(streams):
        placement.place(str(n), 100, s_per_pixel=ALIKE[:devices])
    counts = [len(placement.streams_on(device)) for device in range(devices)]
    assert sum(counts) == streams
    assert max(counts) - min(counts) <= 1


@given(sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=40))
def test_no_device_waits_for_more_than_one_stream_longer_than_another(sizes: list[int]) -> None:
    placement = Placement(3)
    for n, pixels in enumerate(sizes):
        placement.place(str(n), pixels, s_per_pixel=ALIKE[:3])
    loads = [
        sum(placement.pixels_of(stream) for stream in placement.streams_on(device)) for device in range(3)
    ]
    assert max(loads) - min(loads) <= max(sizes)


def test_a_fast_device_gets_more() -> None:
    placement = Placement(2)
    for n in range(11):
        placement.place(str(n), 100, s_per_pixel=[1e-7, 1e-6])
    assert [len(placement.streams_on(device)) for device in range(2)] == [10, 1]


def test_the_first_stream_goes_to_the_first_device_and_who_ends_makes_room() -> None:
    placement = Placement(2)
    assert [placement.place(name, 9, s_per_pixel=ALIKE[:2]) for name in "abc"] == [0, 1, 0]
    placement.end("b")
    assert placement.place("d", 9, s_per_pixel=ALIKE[:2]) == 1


@given(lost=st.integers(0, 2))
def test_a_lost_device_gets_nothing_and_its_streams_find_others(lost: int) -> None:
    placement = Placement(3)
    for n in range(9):
        placement.place(str(n), 9, s_per_pixel=ALIKE[:3])
    placement.lose(lost)
    for stream in placement.streams_on(lost):
        placement.place(stream, placement.pixels_of(stream), s_per_pixel=ALIKE[:3])
    counts = [len(placement.streams_on(device)) for device in placement.living]
    assert lost not in placement.living
    assert placement.streams_on(lost) == []
    assert sorted(counts) == [4, 5]


def test_who_moves_goes_to_a_device_of_its_kind_even_when_it_has_more_to_do() -> None:
    placement = Placement(3)
    for n in range(4):
        placement.place(str(n), 9, s_per_pixel=ALIKE[:3], among=[1])
    placement.lose(0)
    assert placement.place("moved", 9, s_per_pixel=ALIKE[:3], among=[1]) == 1
