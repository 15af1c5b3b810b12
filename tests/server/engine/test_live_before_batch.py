"""Live streams before batch work, by their weights: checked without a clock, with times that are made up."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dimstream_server.engine.fair_turns import FairTurns
from dimstream_server.engine.live_arrivals import LiveArrivals
from dimstream_server.engine.live_before_batch import LIVE_BEFORE_BATCH, Share, Turns

LIVE, BATCH = Share(), Share(batch=True)
WEIGHTS = st.lists(st.integers(1, 16), min_size=2, max_size=8)


@given(weights=WEIGHTS, seconds=st.floats(0.001, 1.0))
def test_shares_of_time_are_those_of_the_weights_within_a_frame(weights: list[int], seconds: float) -> None:
    turns: FairTurns[int] = FairTurns()
    for key, weight in enumerate(weights):
        turns.want(key, seconds=seconds, weight=weight)
    had: Counter[int] = Counter()
    for taken in range(1, 10 * sum(weights) + 1):
        key = turns.take()
        turns.used(key, seconds)
        had[key] += 1
        turns.want(key, seconds=seconds, weight=weights[key])
        for each, weight in enumerate(weights):
            share = taken * weight / sum(weights)
            assert had[each] - share <= 1 + 1e-6
            assert share - had[each] <= 1 + 1e-6


def test_one_of_weight_two_has_two_turns_for_each_of_the_other() -> None:
    turns: FairTurns[str] = FairTurns()
    order = ""
    for key, weight in (("a", 1), ("b", 2)):
        turns.want(key, seconds=1.0, weight=weight)
    for _ in range(9):
        key = turns.take()
        turns.used(key, 1.0)
        order += key
        turns.want(key, seconds=1.0, weight=2 if key == "b" else 1)
    assert Counter(order) == {"b": 6, "a": 3}


def _turn(turns: Turns, now_s: float, share: Share) -> str | None:
    stream = turns.take(now_s)
    if stream is not None:
        turns.used(stream, share, 0.1)
    return stream


def test_batch_work_waits_while_a_live_frame_waits() -> None:
    turns = Turns()
    turns.want("batch", BATCH, seconds=0.1)
    turns.want("live", LIVE, seconds=0.1)
    assert _turn(turns, 0.0, LIVE) == "live"
    assert _turn(turns, 0.1, BATCH) == "batch"
    assert _turn(turns, 0.2, LIVE) is None
    assert turns.wait_s(0.2) is None


def test_batch_work_is_not_kept_waiting_for_ever() -> None:
    turns = Turns()
    turns.want("batch", BATCH, seconds=0.1)
    order = []
    for _ in range(2 * LIVE_BEFORE_BATCH + 2):
        turns.want("live", LIVE, seconds=0.1)
        taken = turns.take(0.0)
        assert taken is not None
        order.append(taken)
        turns.used(taken, BATCH if taken == "batch" else LIVE, 0.1)
        if taken == "batch":
            turns.want("batch", BATCH, seconds=0.1)
    assert [n for n, stream in enumerate(order) if stream == "batch"] == [
        LIVE_BEFORE_BATCH,
        2 * LIVE_BEFORE_BATCH + 1,
    ]


def test_a_batch_frame_that_would_be_in_the_way_of_the_next_live_one_waits_for_it() -> None:
    turns = Turns()
    for t in range(4):
        turns.came("live", LIVE, float(t), t=t, interval_s=None)
    turns.want("batch", BATCH, seconds=0.3)
    assert turns.take(3.75) is None  # it would end at 4.05
    assert turns.wait_s(3.75) == 4.5 - 3.75  # half a gap behind the expected time
    assert turns.take(3.65) == "batch"


def test_a_live_stream_that_pauses_is_not_waited_for() -> None:
    turns = Turns()
    for t in range(4):
        turns.came("live", LIVE, float(t), t=t, interval_s=None)
    turns.want("batch", BATCH, seconds=0.3)
    assert turns.take(4.2) is None
    assert turns.take(4.5) == "batch"


def test_the_first_plane_of_a_stack_is_expected_at_its_interval() -> None:
    arrivals = LiveArrivals()
    for t in range(2):
        for z in range(3):
            arrivals.came("live", 10.0 * t + z, t=t, interval_s=10.0)
    assert arrivals.free_at(15.0, 1.0) == 15.0
    assert arrivals.free_at(19.5, 1.0) == 25.0
    arrivals.forget("live")
    assert arrivals.free_at(19.5, 1.0) == 19.5


@given(
    gap=st.floats(0.05, 5.0),
    live=st.floats(0.01, 0.5),
    batch=st.floats(0.01, 0.5),
    late=st.floats(0.0, 0.45),
    frames=st.integers(20, 60),
)
def test_a_regular_stream_never_waits_for_batch_work_that_is_not_forced(
    gap: float, live: float, batch: float, late: float, frames: int
) -> None:
    """In made-up time: live frames come every `gap`, some of them late, and batch work always waits."""
    turns, now = Turns(), 0.0
    arrivals = [gap * n + (late * gap if n % 5 == 4 else 0.0) for n in range(frames)]
    waited, after_batch = [], 0.0
    turns.want("batch", BATCH, seconds=batch)
    pending: list[float] = []
    n = 0
    while n < frames or pending:
        while n < frames and arrivals[n] <= now:
            turns.came("live", LIVE, arrivals[n], t=n, interval_s=None)
            pending.append(arrivals[n])
            turns.want("live", LIVE, seconds=live)
            n += 1
        stream = turns.take(now)
        if stream is None:
            wait = turns.wait_s(now)
            until = arrivals[n] if n < frames else float("inf")
            now = min(until, now + (float("inf") if wait is None else wait) + 1e-9)
            continue
        if stream == "batch":
            turns.used("batch", BATCH, batch)
            now = after_batch = now + batch
            turns.want("batch", BATCH, seconds=batch)
            continue
        came = pending.pop(0)
        waited.append(after_batch - came)
        turns.used("live", LIVE, live)
        now += live
        if pending:
            turns.want("live", LIVE, seconds=live)
    assert max(waited[7:]) <= 1e-6  # before, nobody could know that a gap may be as short as this
