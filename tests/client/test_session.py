from dataclasses import replace

import numpy as np
import pytest

from dimstream_client import messages as m
from dimstream_client.errors import Code
from dimstream_client.session import MAX_RETRIES, Session

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
        m.Result(
            *(seq, "done", "ok", None, None, None, None, None, "ab", m.Times(0, 0, 0), None, None),
            *("s", None, limit),
        )
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


def resume(stream, *, window=4):
    """Go on where the first result is missing, as the server does that is asked to."""
    start = stream.next_result
    stream.resumed(replace(stream.opened, next_seq=start, limit=start + window, window=window))


@pytest.mark.parametrize("code", [Code.BAD_CHECKSUM, Code.OVER_CREDIT, Code.SERVER_BUSY, Code.DRAINING])
def test_a_refusal_that_can_be_retried_resumes_the_stream(code):
    stream = session()
    offer(stream, 0, 1, 2, 3)
    sent(stream)
    answer(stream, 0, 5)
    assert refuse(stream, 2, code, 2) == (None, True)
    resume(stream)
    assert sent(stream) == [1, 2, 3]


def test_a_frame_that_cannot_be_taken_becomes_a_named_gap():
    stream = session()
    offer(stream, 0, 1, 2)
    sent(stream)
    given_up, resumes = refuse(stream, 1, Code.NOT_FINITE, 1)
    assert (given_up.seq, given_up.code, resumes) == (1, Code.NOT_FINITE, True)
    assert (stream.frames, stream.oldest_seq) == (2, 0)
    resume(stream)
    assert sent(stream) == [0, (1, 1), 2]
    assert stream.limit == 5


def test_a_frame_is_given_up_when_it_was_refused_too_often():
    stream = session()
    offer(stream, 0)
    for _ in range(MAX_RETRIES):
        sent(stream)
        assert refuse(stream, 0, Code.BAD_CHECKSUM, 0) == (None, True)
        resume(stream)
    sent(stream)
    assert refuse(stream, 0, Code.BAD_CHECKSUM, 0).given_up.code == Code.BAD_CHECKSUM
    resume(stream)
    assert sent(stream) == [(0, 0)]


def test_a_refusal_of_what_was_not_sent_changes_nothing():
    stream = session()
    offer(stream, 0)
    sent(stream)
    assert refuse(stream, 7, Code.NOT_FINITE, 0) == (None, False)
    assert refuse(stream, 0, Code.DUPLICATE, 1) == (None, False)
    assert stream.owed == 1


def test_a_stream_that_the_server_closed_is_over():
    stream = session()
    offer(stream, 0, 1)
    sent(stream)
    given_up, resumes = refuse(stream, 1, Code.STREAM_CLOSED, 0)
    assert (given_up.code, resumes, stream.frames) == (Code.STREAM_CLOSED, False, 0)


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


def test_a_resumed_stream_sends_again_what_is_not_answered():
    stream = session()
    offer(stream, 0, 1, 2, 3, 4)
    assert sent(stream) == [0, 1, 2, 3]
    answer(stream, 0, 5)
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
