from dataclasses import replace

import numpy as np

from dimstream_client import messages as m
from dimstream_client.errors import Code
from dimstream_client.session import Session

PIXELS = np.zeros((1, 1), np.uint8)


def session(*, window=4, latest=False):
    opened = m.Opened(
        stream="s", resume_token="t", boot_id="b", next_seq=0, limit=window, reference_frames=1,
        model=m.Model("er", "ab"), thresholds=m.Thresholds(), max_frame_bytes=99, lease_s=1.0, window=window,
    )  # fmt: skip
    return Session(opened, latest=latest)


def offer(stream, *seqs):
    for seq in seqs:
        stream.offer(m.Frame("s", seq, PIXELS))


def sent(stream, *, free_capacity=99):
    return [
        i.seq if isinstance(i, m.Frame) else (i.seq_from, i.seq_to)
        for i in stream.outgoing(free_capacity=free_capacity)
    ]


def answer(stream, seq, limit):
    return stream.result(
        m.Result("s", seq, "done", "ok", None, None, None, None, None, "ab", m.Times(0, 0, 0), limit)
    )


def refuse(stream, seq, code, expected):
    return stream.refused(m.Error.of(code, "no", stream="s", seq=seq, expected={"seq": expected}))


def test_frames_go_while_there_is_credit():
    stream = session()
    offer(stream, *range(6))
    assert sent(stream) == [0, 1, 2, 3]
    answer(stream, 0, 5)
    assert sent(stream) == [4]
    stream.credit(m.Credit("s", 3))  # old news
    assert stream.limit == 5


def test_the_last_answered_frame_of_each_plane_is_kept_as_context():
    stream = session()
    offer(stream, 0, 1)
    sent(stream)
    answer(stream, 0, 5)
    assert stream.reference(0).seq == 0


def test_a_damaged_frame_and_all_behind_it_are_sent_again_once():
    stream = session()
    offer(stream, 0, 1, 2, 3)
    sent(stream)
    assert refuse(stream, 1, Code.BAD_CHECKSUM, 1) is None
    assert sent(stream) == [1, 2, 3]
    for seq in (2, 3):  # what the server says to the first sending
        assert refuse(stream, seq, Code.SEQUENCE_GAP, 1) is None
        assert sent(stream) == []
    assert refuse(stream, 2, Code.SEQUENCE_GAP, 1) is None  # and this is news
    assert sent(stream) == [1, 2, 3]


def test_a_frame_that_cannot_be_taken_becomes_a_named_hole():
    stream = session()
    offer(stream, 0, 1, 2)
    sent(stream)
    refusal = refuse(stream, 0, Code.NOT_FINITE, 0)
    assert (refusal.seq, refusal.code) == (0, Code.NOT_FINITE)
    assert sent(stream) == [(0, 0), 1, 2]
    assert stream.limit == 5


def test_a_frame_that_the_server_lost_leaves_no_hole():
    stream = session()
    offer(stream, 0, 1)
    sent(stream)
    assert refuse(stream, 0, Code.INTERNAL, 2).code == Code.INTERNAL
    assert sent(stream) == []
    answer(stream, 1, 6)
    assert stream.is_idle


def test_a_hole_raises_the_limit_so_that_the_newest_frame_goes_at_once():
    stream = session(window=2, latest=True)
    for seq in (0, 1):
        offer(stream, seq)
        assert sent(stream) == [seq]
    offer(stream, 2, 3, 4, 5)
    assert sent(stream) == []
    answer(stream, 0, 3)
    assert sent(stream) == [(2, 4), 5]
    assert stream.limit == 6


def test_frames_wait_for_room_for_their_results():
    stream = session()
    offer(stream, 0, 1, 2)
    assert sent(stream, free_capacity=1) == [0]
    assert sent(stream, free_capacity=0) == []
    assert sent(stream, free_capacity=5) == [1, 2]


def test_over_credit_waits_for_the_next_result():
    stream = session()
    offer(stream, 0, 1, 2)
    sent(stream)
    refuse(stream, 2, Code.OVER_CREDIT, 2)
    assert sent(stream) == []
    answer(stream, 0, 5)
    assert sent(stream) == [2]


def test_a_draining_server_gets_what_it_refused_when_it_is_back():
    stream = session()
    offer(stream, 0, 1, 2, 3)
    sent(stream)
    assert refuse(stream, 2, Code.DRAINING, 2) is None
    assert refuse(stream, 3, Code.DRAINING, 2) is None
    assert (stream.owed, stream.last_seq, stream.is_waiting) == (2, 3, True)
    stream.is_waiting = False
    assert sent(stream) == [2, 3]


def test_a_resumed_stream_sends_again_what_is_not_answered():
    stream = session()
    offer(stream, 0, 1, 2, 3, 4)
    assert sent(stream) == [0, 1, 2, 3]
    answer(stream, 0, 5)
    refuse(stream, 2, Code.SERVER_BUSY, 2)
    stream.resumed(replace(stream.opened, next_seq=1, limit=3, window=2))
    assert sent(stream) == [1, 2]
    answer(stream, 1, 4)
    assert sent(stream) == [3]


def test_a_skip_that_was_taken_is_behind_a_resumed_stream():
    stream = session()
    offer(stream, 0)
    stream.offer(m.Skip("s", 1, 3, "gap"))
    sent(stream)
    answer(stream, 0, 5)
    assert stream.next_result == 1, "the SKIP would be sent again"
    stream.credit(m.Credit("s", 8))
    assert stream.next_result == 4
    stream.resumed(replace(stream.opened, next_seq=4, limit=8))
    assert sent(stream) == []
    offer(stream, 4)
    assert sent(stream) == [4]


def test_a_frame_that_cannot_be_read_again_leaves_a_named_hole():
    stream = session()
    offer(stream, 0, 1, 2)
    assert sent(stream) == [0, 1, 2]
    stream.unreadable(1)
    assert [type(item).__name__ for item in stream.outgoing(free_capacity=9)] == ["Skip", "Frame"]
