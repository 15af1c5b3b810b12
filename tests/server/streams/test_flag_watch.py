"""When a stream turns suspect and comes back: several frames in a row, on more than half of its planes."""

from typing import Any

import pytest

from dimstream_server.streams.flag_watch import FlagWatch

ONE = (0, 0, 0)
FLAGS: dict[str, Any] = {"o": "ok", "s": "suspect", "u": "unjudged"}

# Flags of a movie, and the frames with which it changes.
MOVIES = {
    "a good movie never changes": ("ooooo", []),
    "one suspect frame is no event": ("oosoo", []),
    "two are none": ("oossoo", []),
    "three in a row are one": ("oosss", [4]),
    "it comes back after three good ones": ("ossssooo", [3, 7]),
    "a few good ones between change nothing": ("sssoosos", [2]),
    "what was not judged counts neither way": ("susuuus", [6]),
    "it may begin suspect": ("sssooosss", [2, 5, 8]),
}


def changes(flags: str, after: int = 3) -> list[int]:
    watch = FlagWatch(after)
    return [seq for seq, flag in enumerate(flags) if watch.judged(seq, ONE, FLAGS[flag])]


@pytest.mark.parametrize(("flags", "expected"), MOVIES.values(), ids=MOVIES.keys())
def test_a_movie(flags: str, expected: list[int]) -> None:
    assert changes(flags) == expected


def test_how_many_frames_it_takes_can_be_set() -> None:
    assert changes("ossoso", after=1) == [1, 3, 4, 5]
    assert changes("o" + "s" * 9 + "o" * 9, after=9) == [9, 18]


def test_a_stack_is_suspect_when_more_than_half_of_its_planes_are() -> None:
    watch = FlagWatch(2)
    planes = [(0, z, 0) for z in range(4)]
    seq = 0

    def time_point(flags: str) -> list[bool]:
        nonlocal seq
        found = []
        for plane, flag in zip(planes, flags, strict=True):
            found.append(watch.judged(seq, plane, FLAGS[flag]))
            seq += 1
        return found

    for _ in range(5):
        time_point("soos")  # the edges show nothing, as in every stack
    assert (watch.suspect_planes, watch.planes, watch.is_suspect) == (2, 4, False)
    time_point("ssos")
    assert time_point("ssos") == [False, True, False, False]
    assert (watch.suspect_planes, watch.is_suspect) == (3, True)
    time_point("soos")
    assert time_point("soos") == [False, True, False, False]
    assert not watch.is_suspect


def test_frames_that_come_again_are_not_counted_twice() -> None:
    watch = FlagWatch(3)
    assert not any(watch.judged(seq, ONE, "suspect") for seq in (0, 1, 0, 1, 1))
    assert watch.judged(2, ONE, "suspect")
