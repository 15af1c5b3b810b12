"""Credit, sequence and ownership of streams, without sockets or engine."""

import contextlib
import itertools
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest

from dimstream_client.messages import Ack, Close, Frame, Open, PlaneIndex, Skip, Update
from dimstream_client.quality import Thresholds, Times
from dimstream_server.engine.protocol import EngineResult, StreamSpec
from dimstream_server.engine.resume_state import Counts
from dimstream_server.errors import (
    Refused,
    ServerError,
    StreamClosed,
    TooManyStreams,
    UnknownStream,
    WrongDtype,
    WrongShape,
)
from dimstream_server.problem_details import ALL_MEANINGS, RequestRefused
from dimstream_server.settings import Settings
from dimstream_server.streams.credit import Credit
from dimstream_server.streams.open_request import choose_codec, spec_of
from dimstream_server.streams.registry import StreamRegistry
from dimstream_server.streams.stream import LAST_SEQ, ServerStream

PIXELS = np.ones((4, 6), np.uint16)


def make_stream(
    *, window: int = 2, id: str = "s", peer: bytes = b"peer", owner: str = "", maps: bool = False
) -> ServerStream:
    spec = StreamSpec(model="blur", shape=(4, 6), in_dtype="uint16", deliver_maps=maps)
    return ServerStream(id=id, peer=peer, owner=owner, spec=spec, window=window, thresholds=Thresholds(0.5))


def frame(seq: int, **index: int) -> Frame:
    return Frame("s", seq, PIXELS, index=PlaneIndex(**index))


def accept(stream: ServerStream, seq: int) -> None:
    stream.task(frame(seq))
    stream.accept(frame(seq), Future())


def result(seq: int) -> EngineResult:
    return EngineResult(
        seq=seq, status="done", flag="ok", reason=None, ssim_prev=0.9, compared_seq=seq - 1, fractions=None,
        quality=None, model_sha256="ab", t_ms=Times(0.1, 0.2, 0.3), pixels=PIXELS, model_id="blur",
    )  # fmt: skip


def test_the_limit_grows_only_when_a_result_is_handed_over() -> None:
    stream = make_stream(window=2)
    accept(stream, 0)
    accept(stream, 1)
    assert (stream.limit, stream.in_flight) == (2, 2)
    with pytest.raises(RequestRefused, match="exceeds the credit") as caught:
        stream.task(frame(2))
    assert (caught.value.code, caught.value.expected) == ("over_credit", {"seq": 2, "limit": 2})
    assert stream.result(result(0)).limit == 3
    assert stream.limit == 2  # made, but not handed over
    stream.handed_over(0)
    assert stream.limit == 3
    accept(stream, 2)


def test_a_skip_raises_the_limit_by_the_frames_skipped() -> None:
    stream = make_stream(window=2)
    accept(stream, 0)
    stream.check_skip(Skip("s", 1, 5, "slow"))
    assert stream.skipped(5).limit == 7
    assert (stream.next_seq, stream.limit) == (6, 7)
    accept(stream, 6)
    with pytest.raises(RequestRefused, match="exceeds the credit"):
        stream.task(frame(7))
    stream.handed_over(0)
    assert stream.limit == 8


@pytest.mark.parametrize(("seq", "code"), [(0, "duplicate"), (2, "sequence_gap"), (900, "sequence_gap")])
def test_frames_out_of_turn_are_refused_and_change_nothing(seq: int, code: str) -> None:
    stream = make_stream()
    accept(stream, 0)
    for offer in (lambda: stream.task(frame(seq)), lambda: stream.check_skip(Skip("s", seq, seq, ""))):
        with pytest.raises(RequestRefused) as caught:
            offer()
        assert (caught.value.code, caught.value.expected) == (code, {"seq": 1})
    accept(stream, 1)


def test_a_refusal_of_the_engine_leaves_the_frame_in_turn() -> None:
    stream = make_stream()
    stream.task(frame(0))  # and the engine says no: accept is never called
    stream.task(frame(0))
    assert (stream.next_seq, stream.in_flight) == (0, 0)


def test_another_shape_or_pixel_type_is_refused() -> None:
    stream = make_stream()
    with pytest.raises(WrongShape, match=r"\[4, 6\].*\[6, 4\]"):
        stream.task(Frame("s", 0, PIXELS.T))
    with pytest.raises(WrongDtype, match="expected uint16"):
        stream.task(Frame("s", 0, PIXELS.astype(np.uint8)))


def test_time_is_the_sequence_until_a_frame_says_where_it_belongs() -> None:
    unnamed = make_stream(window=9)
    for seq in range(3):
        assert unnamed.task(frame(seq)).t == seq
        unnamed.accept(frame(seq), Future())
    named = make_stream(window=9)
    downwards = [frame(0, z=1), frame(1, z=0), frame(2, t=1, z=1), frame(3, t=1, z=0)]
    tasks = []
    for one in downwards:
        tasks.append(named.task(one))
        named.accept(one, Future())
    assert [(task.t, task.plane) for task in tasks] == [
        (0, (0, 1, 0)),
        (0, (0, 0, 0)),
        (1, (0, 1, 0)),
        (1, (0, 0, 0)),
    ]


def test_a_result_carries_the_index_of_its_frame() -> None:
    stream = make_stream()
    stream.accept(frame(0, c=1, p=3), Future())
    assert stream.result(result(0)).index == PlaneIndex(c=1, p=3)


def test_a_closed_stream_takes_nothing_more() -> None:
    stream = make_stream()
    accept(stream, 0)
    with pytest.raises(RequestRefused) as caught:
        stream.close(Close("s", last_seq=3))
    assert (caught.value.code, caught.value.expected) == ("sequence_gap", {"seq": 1})
    assert stream.close(Close("s", last_seq=0))
    assert not stream.close(Close("s", last_seq=0))  # said twice, done once
    for offer in (
        lambda: stream.task(frame(1)),
        lambda: stream.check_skip(Skip("s", 1, 1, "")),
        lambda: stream.new_thresholds(Update("s", 1, model="other")),
    ):
        with pytest.raises(StreamClosed):
            offer()
    counts = dict(stream.closed(Counts(done=1, ok=1)).counts)
    assert counts == {"done": 1, "failed": 0, "skipped": 0, "ok": 1, "suspect": 0, "unjudged": 0}


def test_an_update_hands_on_the_thresholds_that_it_names() -> None:
    stream = make_stream()
    assert stream.new_thresholds(Update("s", 0, model="other")) is None
    asked = stream.new_thresholds(Update("s", 0, thresholds={"signal_min": 30.0}))
    assert asked == {"signal_min": 30.0}
    every = {"ssim": 0.5, "background_max": 4.0, "signal_min": 20.0, "structure_score": 6.0, "split": 0.25}
    asked = stream.new_thresholds(Update("s", 0, thresholds=every))
    assert asked == every


def test_a_skip_to_the_end_of_all_numbers_is_refused() -> None:
    stream = make_stream()
    with pytest.raises(RequestRefused, match="expected seq_to of at most") as caught:
        stream.check_skip(Skip("s", 0, 2**53 - 1, ""))
    assert caught.value.code == "bad_field"
    stream.check_skip(Skip("s", 0, LAST_SEQ, ""))
    assert stream.skipped(LAST_SEQ).limit <= 2**53 - 1


def test_results_that_were_never_sent_cannot_be_acknowledged() -> None:
    stream = make_stream()
    accept(stream, 0)
    stream.acknowledge(Ack("s", 1))
    assert stream.acknowledged == 1
    with pytest.raises(RequestRefused, match="at most 1, got 2"):
        stream.acknowledge(Ack("s", 2))


def open_message(**fields: Any) -> Open:
    return Open(client="test", shape=(4, 6), dtype="uint16", **fields)


def make_book(**limits: Any) -> StreamRegistry:
    some = {
        "max_streams": 3,
        "default_window": 8,
        "max_window": 16,
        "max_credit": 20,
        "max_credit_bytes": 2**20,
    }
    merged = {**some, "max_streams_per_client": 3, "max_credit_per_client": 100, **limits}
    return StreamRegistry(Credit(**merged))


def window_in(book: StreamRegistry, *, client: str | bytes = b"peer", **fields: Any) -> int:
    return book.window_for(open_message(**fields), client=client)


def test_the_book_bounds_streams_credit_and_windows() -> None:
    book = make_book()
    assert window_in(book) == 8
    assert window_in(book, mode="latest") == 2
    assert window_in(book, window=500) == 16
    book.add(make_stream(window=16, id="a"))
    assert window_in(book, client=b"other") == 4
    book.add(make_stream(window=4, id="b"))
    with pytest.raises(TooManyStreams, match="credit"):
        window_in(book)
    book.remove(book.find(b"peer", "b"))
    book.add(make_stream(window=1, id="c"))
    book.add(make_stream(window=1, id="d"))
    with pytest.raises(TooManyStreams, match="streams"):
        window_in(book)


def test_the_book_bounds_the_bytes_that_are_promised() -> None:
    book = make_book(max_credit_bytes=1000)
    assert window_in(book, window=16) == 16  # of 48 bytes
    assert window_in(book, window=16, out_dtype="float32") == 10  # of 96
    book.add(make_stream(window=16, id="a"))
    assert window_in(book, out_dtype="float32", client=b"other") == 2
    book.add(make_stream(window=4, id="b"))
    book.remove(book.find(b"peer", "a"))
    book.add(make_stream(window=15, id="c"))
    with pytest.raises(TooManyStreams, match="bytes for frames in flight, 912 are in use"):
        window_in(book, out_dtype="float32", client=b"other")


def test_one_client_gets_no_more_than_its_share() -> None:
    book = make_book(max_streams_per_client=2, max_credit_per_client=10)
    book.add(make_stream(window=8, id="a", owner="amira"))
    assert window_in(book, client="amira") == 2
    assert window_in(book, client="bela") == 8
    book.add(make_stream(window=2, id="b", owner="amira", peer=b"another connection"))
    with pytest.raises(TooManyStreams, match="max_streams_per_client"):
        window_in(book, client="amira")
    book.remove(book.find(b"peer", "a", owner="amira"))
    book.add(make_stream(window=10, id="c"))
    with pytest.raises(TooManyStreams, match="max_credit_per_client"):
        window_in(book, client=b"peer")  # without a key it is the connection that counts
    assert window_in(book, client="chen") == 8


@pytest.mark.parametrize("greedy", [1, 2, 3])
@pytest.mark.parametrize("window", [8, 64])
def test_greedy_clients_leave_credit_for_others(greedy: int, window: int) -> None:
    """They open streams with the largest windows until they are refused, with the default settings."""
    zmq, limits = Settings().zmq, Settings().limits
    book = StreamRegistry.of(Settings())
    for number in range(greedy):
        with contextlib.suppress(TooManyStreams):
            for name in itertools.count():
                got = window_in(book, client=f"{number}", window=window)
                book.add(make_stream(window=got, id=f"{number} {name}", owner=f"{number}"))
    if len(book) < limits.max_streams:
        assert window_in(book, client="honest") >= (zmq.window if greedy == 1 else 1)
    assert len(book) < limits.max_streams or greedy > 1
    assert sum(stream.window for stream in book) <= limits.max_credit


def test_the_book_counts_the_bytes_of_maps() -> None:
    book = make_book(max_window=64, max_credit=100, max_credit_bytes=1440)
    assert window_in(book, window=64) == 30  # of 48 bytes
    assert window_in(book, window=64, maps=True) == 20  # of 72
    book.add(make_stream(window=10, maps=True))
    assert window_in(book, window=64, client=b"other") == 15


def test_what_open_asks_for_reaches_the_engine() -> None:
    spec = spec_of(open_message(maps=True, split_every=3, frame_interval_s=0.5), model="blur")
    assert (spec.deliver_maps, spec.split_every, spec.frame_interval_s) == (True, 3, 0.5)
    spec = spec_of(open_message(), model="blur")
    assert (spec.deliver_maps, spec.split_every, spec.frame_interval_s) == (False, 0, None)


def test_the_book_shows_a_stream_to_its_peer_only() -> None:
    book = make_book()
    stream = make_stream()
    book.add(stream)
    assert book.find(b"peer", "s") is stream
    with pytest.raises(UnknownStream):
        book.find(b"other", "s")
    with pytest.raises(UnknownStream):
        book.find(b"peer", "t")
    with pytest.raises(UnknownStream):
        book.find(b"peer", "s", owner="another key")


def test_the_first_codec_that_is_read_here_is_chosen() -> None:
    assert choose_codec(("blosc2", "zlib", "none")) == "zlib"
    assert choose_codec(("none", "zlib")) == "none"
    with pytest.raises(RequestRefused, match="none, zlib"):
        choose_codec(("blosc2",))


def every_error(kind: type[ServerError]) -> list[type[ServerError]]:
    return [kind, *(deep for sub in kind.__subclasses__() for deep in every_error(sub))]


@pytest.mark.parametrize("kind", [kind for kind in every_error(Refused) if kind is not RequestRefused])
def test_every_refusal_of_the_engine_can_be_told(kind: type[Refused]) -> None:
    assert ALL_MEANINGS[kind.code].retryable == kind.retryable
