"""Junctions and gaps followed from frame to frame, and how well a mean over frames is known."""

import numpy as np
import pytest

from dimstream_models.analysis.instances import gaps_of
from dimstream_models.analysis.linking import Links, link_gaps, link_places
from dimstream_models.analysis.tracks import Follower, Track
from dimstream_models.analysis.uncertainty import correlation_time, mean_of


def places(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, float).reshape(-1, 2)


def test_the_nearest_are_the_same_and_what_is_too_far_is_not() -> None:
    before, after = places((0, 0), (20, 20), (50, 50)), places((22, 20), (1, 0), (90, 90))
    links = link_places(before, after, reach=10)
    assert set(links.same) == {(0, 1), (1, 0)}
    assert (links.merged, links.split, links.lost) == ((), (), 1)


def test_all_links_together_are_short_not_only_the_first() -> None:
    """Going by the nearest first would link 1 with 0, and leave the others 9 px apart."""
    links = link_places(places((0, 0), (0, 5)), places((0, 4), (0, 9)), reach=10)
    assert set(links.same) == {(0, 0), (1, 1)}


def test_what_vanishes_at_one_that_goes_on_has_merged_with_it() -> None:
    links = link_places(places((0, 0), (0, 6)), places((0, 1)), reach=10)
    assert (links.same, links.merged, links.lost) == (((0, 0),), (1,), 0)
    links = link_places(places((0, 1)), places((0, 0), (0, 6)), reach=10)
    assert (links.same, links.split) == (((0, 0),), (1,))


@pytest.mark.parametrize(("n", "m"), [(0, 0), (3, 0), (0, 3)])
def test_nothing_links_with_nothing(n: int, m: int) -> None:
    links = link_places(np.zeros((n, 2)), np.zeros((m, 2)), reach=5)
    assert (links.same, links.lost) == ((), n)


def walls(*columns: int, side: int = 60) -> np.ndarray:
    """A frame of tubule with walls between gaps that are as high as the frame."""
    labels = np.zeros((side, side), np.uint8)
    labels[[0, -1]] = labels[:, [0, -1]] = 1
    labels[:, list(columns)] = 1
    return labels


def test_gaps_move_merge_and_split() -> None:
    three, two = gaps_of(walls(20, 40)), gaps_of(walls(23))
    links = link_gaps(three, two)
    assert set(links.same) == {(0, 0), (1, 1)} or set(links.same) == {(0, 0), (2, 1)}
    assert (len(links.merged), links.split, links.lost) == (1, (), 0)
    back = link_gaps(two, three)
    assert len(back.same) == 2
    assert (back.merged, len(back.split), back.lost) == ((), 1, 0)


def test_a_gap_that_fills_is_lost() -> None:
    before, after = walls(20, 40), walls(20, 40)
    after[:, 20:40] = 1
    links = link_gaps(gaps_of(before), gaps_of(after))
    assert (set(links.same), links.merged, links.lost) == ({(0, 0), (2, 1)}, (), 1)


def ended(follower: Follower, *frames: tuple[int, int, Links | None]) -> list[Track]:
    tracks = []
    for number, seen, links in frames:
        tracks += follower.add(number, [(0.0, 0.0, 3.0)] * seen, links)
    return tracks


def test_a_track_says_when_and_how_it_began_and_ended() -> None:
    follower = Follower()
    tracks = ended(
        follower,
        (0, 2, None),
        (1, 3, Links(same=((0, 2),), merged=(1,), split=(0,))),
        (2, 2, Links(same=((2, 0), (0, 1)), lost=1)),
    )
    assert [(t.first, t.last, t.beginning, t.ending) for t in tracks] == [
        (0, 0, "unseen", "merged"),
        (1, 1, "born", "lost"),
    ]
    rest = [(t.first, t.last, t.beginning, t.ending) for t in follower.end()]
    assert rest == [(0, 2, "unseen", "unseen"), (1, 2, "split", "unseen")]


def test_nothing_is_followed_over_frames_that_were_left_out() -> None:
    follower = Follower()
    tracks = ended(follower, (0, 1, None), (1, 1, Links(same=((0, 0),))), (4, 1, None))
    assert [(t.first, t.last, t.ending) for t in tracks] == [(0, 1, "unseen")]
    assert [t.beginning for t in follower.end()] == ["unseen"]


def series(rng: np.random.Generator, memory: float, frames: int) -> np.ndarray:
    values = np.zeros(frames)
    for t in range(1, frames):
        values[t] = memory * values[t - 1] + rng.normal()
    return values


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_the_correlation_time_is_that_of_the_process(memory: float) -> None:
    rng = np.random.default_rng(3)
    times = [correlation_time(series(rng, memory, 4000)) for _ in range(12)]
    assert np.mean(times) == pytest.approx((1 + memory) / (1 - memory), rel=0.12)


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(memory: float) -> None:
    """At a memory of 0.8, 300 frames are worth 33; as if all were independent: 49 % instead of 85 %."""
    rng = np.random.default_rng(4)
    held = [
        mean.low <= 0 <= mean.high
        for mean in (mean_of(series(rng, memory, 340)[40:].tolist()) for _ in range(150))
        if mean.low is not None and mean.high is not None
    ]
    assert len(held) > 120
    assert 0.8 < np.mean(held) <= 0.99


def test_missing_frames_are_not_made_up() -> None:
    mean = mean_of([1.0, None, 3.0, None])
    assert (mean.value, mean.frames, mean.low) == (2.0, 2, None)
    assert mean_of([None, None]).value is None
    assert mean_of([]).frames == 0
    constant = mean_of([4.0] * 50)
    assert (constant.value, constant.low, constant.high) == (4.0, 4.0, 4.0)
