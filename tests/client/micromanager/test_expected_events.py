"""Frames that never came are found by the index of the next one that does."""

import itertools
from types import SimpleNamespace

import pytest

from dimstream_client.messages import PlaneIndex
from dimstream_client.micromanager.camera_frames import PlaneNumbers
from dimstream_client.micromanager.expected_events import ExpectedEvents, key_of, planned_keys


def keys(*indices):
    return [key_of(dict(zip("tcz", index, strict=False))) for index in indices]


PLAN = keys(*itertools.product(range(3), range(2), range(2)))
COMES = {
    # which of the plan's frames come, in order; missing before each, left, unexpected, late
    "all": (range(12), [0] * 12, 0, 0, 0),
    "none": ([], [], 12, 0, 0),
    "not the first": (range(2, 12), [2] + [0] * 9, 0, 0, 0),
    "a hole": ([0, 1, 5, 6], [0, 0, 3, 0], 5, 0, 0),
    "two holes": ([0, 4, 11], [0, 3, 6], 0, 0, 0),
    "one late": ([0, 2, 1, 3], [0, 1, 0, 0], 8, 0, 1),
    "one twice": ([0, 1, 1, 2], [0, 0, 0, 0], 9, 1, 0),
}


@pytest.mark.parametrize("name", COMES)
def test_what_the_plan_has_and_did_not_come_is_found(name):
    order, missing, left, unexpected, late = COMES[name]
    expected = ExpectedEvents(PLAN)
    assert [expected.missing_before(PLAN[n]) for n in order] == missing
    assert (expected.left(), expected.unexpected, expected.late) == (left, unexpected, late)


def test_a_frame_that_is_not_in_the_plan_shifts_nothing():
    expected = ExpectedEvents(PLAN)
    assert expected.missing_before(key_of({"t": 99})) == 0
    assert [expected.missing_before(key) for key in PLAN] == [0] * 12
    assert expected.unexpected == 1


def test_a_plan_without_end_is_looked_into_only_so_far():
    expected = ExpectedEvents(key_of({"t": t}) for t in itertools.count())
    assert expected.missing_before(key_of({"t": 500})) == 500
    assert expected.missing_before(key_of({"x": 1})) == 0
    assert expected.missing_before(key_of({"t": 501})) == 0
    assert expected.left() == 100_000


def test_without_a_plan_time_points_of_a_plane_are_in_a_row():
    expected = ExpectedEvents()
    order = [(0, 0), (0, 1), (1, 0), (4, 1), (3, 0), (3, 0)]
    assert [expected.missing_before(key) for key in keys(*order)] == [0, 0, 0, 3, 1, 0]


def test_autofocus_gives_no_frame_and_several_cameras_give_several():
    def event(kind, **index):
        return SimpleNamespace(action=SimpleNamespace(type=kind), index=index)

    events = [event("hardware_autofocus", t=0), event("acquire_image", t=0), event("custom", t=1)]
    assert list(planned_keys(events)) == [key_of({"t": 0})]
    assert list(planned_keys(events, cameras=2)) == [key_of({"t": 0, "cam": n}) for n in (0, 1)]


PLACES = {
    "plain": (1, [{"t": 3, "c": 1, "z": 2, "p": 4}], [PlaneIndex(3, 1, 2, 4)]),
    "nothing": (1, [{}], [PlaneIndex()]),
    "cameras are channels": (2, [{"c": 1, "cam": 0}, {"c": 1, "cam": 1}], [PlaneIndex(c=2), PlaneIndex(c=3)]),
    "grids are positions": (
        1,
        [{"p": 0, "g": 0}, {"p": 0, "g": 1}, {"p": 1, "g": 0}, {"t": 1, "p": 0, "g": 1}],
        [PlaneIndex(p=0), PlaneIndex(p=1), PlaneIndex(p=2), PlaneIndex(t=1, p=1)],
    ),
    "any other axis, too": (1, [{"angle": 0}, {"angle": 9}], [PlaneIndex(p=0), PlaneIndex(p=1)]),
}


@pytest.mark.parametrize("name", PLACES)
def test_each_index_has_its_place_in_the_stream(name):
    cameras, indices, places = PLACES[name]
    numbers = PlaneNumbers(cameras)
    assert [numbers.index_of(key_of(index)) for index in indices] == places
