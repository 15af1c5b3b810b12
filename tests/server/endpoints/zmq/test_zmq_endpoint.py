"""The ZeroMQ endpoint with real sockets and the real engine: refusals have codes, and streams live on."""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zmq
from faults import stray

from dimstream_client.messages import (
    Ack,
    Close,
    Closed,
    Credit,
    Error,
    Frame,
    Open,
    Opened,
    Ping,
    PlaneIndex,
    Pong,
    Result,
    Skip,
    Update,
    Updated,
)
from dimstream_client.wire import encode

SHAPE = (24, 32)


def header_of(message: Any, **changes: Any) -> tuple[bytes, bytes, bytes]:
    """Parts of a message, some header fields changed; None leaves one out."""
    parts = [bytes(part) for part in encode(message)]
    header = {**json.loads(parts[1]), **changes}
    kept = {name: value for name, value in header.items() if value is not None}
    return parts[0], json.dumps(kept).encode(), parts[2]


def test_a_stream_answers_each_frame_in_order_and_counts_them(peer: Any, make_counts: Any) -> None:
    opened = peer.open()
    assert (opened.next_seq, opened.limit, opened.window) == (0, 8, 8)
    frame = make_counts()
    results = [peer.denoise(opened.stream, seq, frame) for seq in range(3)]
    assert [result.seq for result in results] == [0, 1, 2]
    assert [result.limit for result in results] == [9, 10, 11]
    assert [result.flag for result in results] == ["unjudged", "ok", "ok"]
    assert results[1].compared_seq == 0
    assert results[1].ssim_prev == pytest.approx(1.0, abs=1e-4)
    assert results[1].pixels.shape == SHAPE
    assert results[1].pixels.dtype == np.uint16
    assert results[1].t_ms.total >= results[1].t_ms.infer > 0
    closed = peer.ask(Close(stream=opened.stream, last_seq=2))
    assert isinstance(closed, Closed)
    assert (closed.counts["done"], closed.counts["ok"], closed.counts["unjudged"]) == (3, 2, 1)


def test_a_window_of_frames_comes_back_in_order(peer: Any, make_counts: Any) -> None:
    opened = peer.open(window=5)
    for seq in range(5):
        peer.send(Frame(stream=opened.stream, seq=seq, pixels=make_counts(seed=seq)))
    results = [peer.receive() for _ in range(5)]
    assert [result.seq for result in results] == list(range(5))
    assert results[-1].limit == 10


def test_planes_are_compared_with_their_own_past(peer: Any, make_counts: Any) -> None:
    opened = peer.open()
    compared = []
    for seq in range(6):
        index = PlaneIndex(t=seq // 2, z=seq % 2)
        result = peer.ask(Frame(stream=opened.stream, seq=seq, pixels=make_counts(), index=index))
        assert result.index == index
        compared.append(result.compared_seq)
    assert compared == [None, None, 0, 1, 2, 3]


def test_flags_only_streams_carry_no_pixels(peer: Any, make_counts: Any) -> None:
    opened = peer.open(deliver="flags")
    assert peer.denoise(opened.stream, 0, make_counts()).pixels is None


def test_results_carry_a_checksum_and_float_pixels_when_asked(peer: Any, make_counts: Any) -> None:
    opened = peer.open(dtype="float32", out_dtype="float32", checksum="crc32", codecs=("zlib", "none"))
    assert (opened.checksum, opened.codec) == ("crc32", "zlib")
    message = Frame(stream=opened.stream, seq=0, pixels=make_counts(dtype="float32"))
    peer.send(message, codec="zlib", checksum=True)
    parts = peer.socket.recv_multipart()
    header = json.loads(parts[1])
    assert header["dtype"] == "float32"
    assert "crc32" in header


def test_skip_raises_the_limit_and_a_like_frame_behind_it_is_judged(peer: Any, make_counts: Any) -> None:
    opened = peer.open(mode="latest")
    assert opened.window == 2
    peer.denoise(opened.stream, 0, make_counts())
    credit = peer.ask(Skip(stream=opened.stream, seq_from=1, seq_to=4, reason="too slow"))
    assert credit == Credit(stream=opened.stream, limit=7)
    result = peer.denoise(opened.stream, 5, make_counts())
    assert (result.flag, result.compared_seq) == ("ok", 0)


def test_update_changes_thresholds_from_a_frame_on(peer: Any, make_counts: Any) -> None:
    opened = peer.open()
    peer.denoise(opened.stream, 0, make_counts())
    peer.send(Update(stream=opened.stream, from_seq=1, thresholds={"ssim": 1.0}))
    updated = peer.receive()
    assert isinstance(updated, Updated)
    assert (updated.from_seq, updated.thresholds.ssim, updated.thresholds.signal_min) == (1, 1.0, 25.0)
    assert peer.denoise(opened.stream, 1, make_counts(seed=1)).flag == "suspect"


def test_ping_comes_back(peer: Any) -> None:
    pong = peer.ask(Ping(t=1.5))
    assert isinstance(pong, Pong)
    assert (pong.t, pong.queue) == (1.5, 0)
    assert pong.boot_id


def test_ack_is_taken_in_silence(peer: Any, make_counts: Any) -> None:
    opened = peer.open()
    peer.denoise(opened.stream, 0, make_counts())
    peer.send(Ack(stream=opened.stream, next_result=1))
    assert isinstance(peer.ask(Ping(t=0.0)), Pong)


def test_a_model_that_raises_fails_the_frame_and_not_the_stream(peer: Any, make_counts: Any) -> None:
    opened = peer.open(model="raising")
    bad = make_counts()
    bad[:2, :2] = 999
    failed = peer.denoise(opened.stream, 0, bad)
    assert (failed.status, failed.flag, failed.pixels) == ("failed", "unjudged", None)
    assert failed.error.code == "frame_failed"
    assert peer.denoise(opened.stream, 1, make_counts()).status == "done"


FRAME_REFUSALS: dict[str, tuple[str, Callable[[str, Any], tuple[bytes, ...]]]] = {
    "gap": ("sequence_gap", lambda stream, pixels: header_of(Frame(stream, 3, pixels))),
    "duplicate": ("duplicate", lambda stream, pixels: header_of(Frame(stream, 0, pixels))),
    "shape": ("wrong_shape", lambda stream, pixels: header_of(Frame(stream, 1, pixels[:8]))),
    "dtype": ("wrong_dtype", lambda stream, pixels: header_of(Frame(stream, 1, pixels.astype("uint8")))),
    "size": ("wrong_size", lambda stream, pixels: (*header_of(Frame(stream, 1, pixels))[:2], b"short")),
    "checksum": ("bad_checksum", lambda stream, pixels: header_of(Frame(stream, 1, pixels), crc32=1)),
    "codec": ("bad_codec", lambda stream, pixels: header_of(Frame(stream, 1, pixels), codec="lz4")),
    "zlib": ("bad_codec", lambda stream, pixels: header_of(Frame(stream, 1, pixels), codec="zlib")),
    "huge": ("oversize", lambda stream, pixels: header_of(Frame(stream, 1, pixels), shape=[9000, 9000])),
    "large": (
        "oversize",
        lambda stream, pixels: header_of(Frame(stream, 1, np.zeros((1024, 600), np.uint16))),
    ),
    "no seq": ("bad_field", lambda stream, pixels: header_of(Frame(stream, 1, pixels), seq=None)),
    "no JSON": ("bad_header", lambda stream, pixels: (b"DIM1FRAME", b"{", b"")),
    "magic": ("bad_magic", lambda stream, pixels: (b"DIM2FRAME", b"{}", b"")),
    "type": ("unknown_type", lambda stream, pixels: (b"DIM1FRAMES", b"{}")),
    "parts": ("bad_header", lambda stream, pixels: (b"DIM1FRAME", b"{}", b"", b"", b"", b"")),
    "one part": ("bad_header", lambda stream, pixels: (b"DIM1FRAME",)),
    "server's": ("unknown_type", lambda stream, pixels: tuple(encode(Credit(stream, 9)))),
}


@pytest.mark.parametrize("case", FRAME_REFUSALS)
def test_a_refused_message_has_its_code_and_the_stream_lives_on(
    peer: Any, make_counts: Any, case: str
) -> None:
    code, make_parts = FRAME_REFUSALS[case]
    pixels = make_counts()
    opened = peer.open(window=1)
    peer.denoise(opened.stream, 0, pixels)
    refusal = peer.refusal(*make_parts(opened.stream, pixels))
    assert refusal.code == code
    assert refusal.type == f"urn:dimstream:error:{code}"
    if refusal.seq is not None:
        assert refusal.expected is not None
        assert refusal.expected["seq"] == 1
    result = peer.denoise(opened.stream, 1, pixels)
    assert (result.seq, result.flag) == (1, "ok")


def test_a_frame_over_the_credit_is_refused_and_may_come_again(peer: Any, make_counts: Any) -> None:
    opened = peer.open(shape=(700, 700), window=1)  # large enough that frame 1 comes before frame 0 is done
    frame = make_counts((700, 700))
    peer.send(Frame(opened.stream, 0, frame))
    peer.send(Frame(opened.stream, 1, frame))
    refusal, result = peer.receive(), peer.receive()
    assert (refusal.code, refusal.seq, refusal.retryable) == ("over_credit", 1, True)
    assert refusal.expected == {"seq": 1, "limit": 1}
    assert (result.seq, result.limit) == (0, 2)
    assert peer.denoise(opened.stream, 1, frame).seq == 1


def test_not_finite_frames_are_refused(peer: Any, make_counts: Any) -> None:
    opened = peer.open(dtype="float32")
    bad = make_counts(dtype="float32")
    bad[3, 4] = np.nan
    refusal = peer.ask(Frame(opened.stream, 0, bad))
    assert (refusal.code, refusal.seq, refusal.expected) == ("not_finite", 0, {"seq": 0})
    assert peer.denoise(opened.stream, 0, make_counts(dtype="float32")).status == "done"


OPEN_REFUSALS: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown model": ("unknown_model", {"model": "none"}),
    "no model of several": ("unknown_model", {"model": None}),
    "resume": ("bad_token", {"stream": "s", "resume_token": "t"}),
    "recording": ("not_supported", {"save": True}),
    "too large": ("oversize", {"shape": (4096, 4096)}),
}


@pytest.mark.parametrize("case", OPEN_REFUSALS)
def test_open_is_refused_with_its_code(peer: Any, case: str) -> None:
    code, fields = OPEN_REFUSALS[case]
    refusal = peer.ask(
        Open(**{"client": "test", "shape": SHAPE, "dtype": "uint16", "model": "blur", **fields})
    )
    assert isinstance(refusal, Error)
    assert refusal.code == code


def test_a_mistyped_setting_is_refused(peer: Any) -> None:
    header = json.dumps({"client": "t", "shape": [8, 8], "dtype": "uint16", "windw": 3}).encode()
    assert peer.refusal(b"DIM1OPEN", header).code == "bad_field"


def test_a_stream_belongs_to_the_peer_that_opened_it(
    peer: Any, server: Any, connect: Any, make_counts: Any
) -> None:
    opened = peer.open()
    stranger = connect(server)
    for message in (
        Frame(opened.stream, 0, make_counts()),
        Skip(opened.stream, 0, 1, "mine"),
        Ack(opened.stream, 0),
        Update(opened.stream, 0, model="raising"),
        Close(opened.stream),
    ):
        refusal = stranger.ask(message)
        assert refusal.code == "unknown_stream"
        assert refusal.expected is None
    assert peer.denoise(opened.stream, 0, make_counts()).seq == 0


def test_close_waits_for_every_result_and_takes_nothing_more(peer: Any, make_counts: Any) -> None:
    opened = peer.open()
    for seq in range(4):
        peer.send(Frame(opened.stream, seq, make_counts()))
    peer.send(Close(opened.stream, last_seq=3))
    peer.send(Frame(opened.stream, 4, make_counts()))
    answers = [peer.receive() for _ in range(6)]
    refusal = next(answer for answer in answers if isinstance(answer, Error))
    assert refusal.code in ("stream_closed", "unknown_stream")
    kinds = [answer for answer in answers if not isinstance(answer, Error)]
    assert [type(kind) for kind in kinds] == [Result] * 4 + [Closed]
    assert peer.ask(Close(opened.stream)).code == "unknown_stream"


def test_close_names_missing_frames(peer: Any, make_counts: Any) -> None:
    opened = peer.open()
    peer.denoise(opened.stream, 0, make_counts())
    refusal = peer.ask(Close(opened.stream, last_seq=4))
    assert (refusal.code, refusal.expected) == ("sequence_gap", {"seq": 1})
    assert peer.denoise(opened.stream, 1, make_counts()).seq == 1


def test_streams_are_bounded_and_a_closed_one_makes_room(
    start_server: Any, connect: Any, make_counts: Any
) -> None:
    peer = connect(start_server(limits={"max_streams": 2}))
    first, _ = peer.open(), peer.open()
    refusal = peer.ask(Open(client="t", shape=SHAPE, dtype="uint16"))
    assert (refusal.code, refusal.retryable) == ("too_many_streams", True)
    assert isinstance(peer.ask(Close(first.stream)), Closed)
    assert peer.open().limit > 0


def test_every_open_of_many_at_once_is_answered(start_server: Any, connect: Any) -> None:
    peer = connect(start_server())
    for option in (zmq.SNDHWM, zmq.RCVHWM):
        peer.socket.setsockopt(option, 0)
    for _ in range(3000):
        peer.send(Open(client="t", shape=SHAPE, dtype="uint16"))
    answers = [peer.receive() for _ in range(3000)]
    codes = {answer.code if isinstance(answer, Error) else answer.TYPE for answer in answers}
    assert codes <= {"OPENED", "too_many_streams", "server_busy"}


def test_promised_credit_is_bounded(start_server: Any, connect: Any) -> None:
    server = start_server(limits={"max_credit": 10})
    peer = connect(server)
    assert [peer.open().window, connect(server).open().window] == [8, 2]
    assert peer.ask(Open(client="t", shape=SHAPE, dtype="uint16")).code == "too_many_streams"


def test_the_stream_of_a_vanished_peer_ends_and_the_server_lives_on(
    start_server: Any, connect: Any, make_counts: Any
) -> None:
    server = start_server(limits={"max_streams": 1}, zmq={"silence_s": 3600})
    gone = connect(server)
    gone.open()
    gone.close()
    peer = connect(server)
    deadline = time.monotonic() + 60
    while isinstance(answer := peer.ask(Open(client="t", shape=SHAPE, dtype="uint16")), Error):
        assert answer.code == "too_many_streams"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert peer.denoise(answer.stream, 0, make_counts()).seq == 0


def test_a_peer_that_does_not_answer_gives_its_place_up_to_who_needs_it(
    start_server: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(limits={"max_streams": 1}, zmq={"silence_s": 8.0})
    dead = stray.connect(server.addresses.zmq)  # it answers no ping
    dead.sendall(stray.message(Open(client="t", shape=SHAPE, dtype="uint16")))
    peer = connect(server)
    deadline = time.monotonic() + 60
    while not isinstance(peer.ask(Open(client="t", shape=SHAPE, dtype="uint16")), Opened):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "another client needs its place" in caplog.text
    dead.close()


def test_a_silent_peer_that_is_there_keeps_its_stream(
    start_server: Any, connect: Any, make_counts: Any
) -> None:
    peer = connect(start_server(zmq={"silence_s": 1.0}))
    opened = peer.open()
    time.sleep(2.5)
    assert peer.denoise(opened.stream, 0, make_counts()).seq == 0


def test_a_peer_whose_cable_was_cut_is_given_up_after_a_silence(start_server: Any, connect: Any) -> None:
    server = start_server(limits={"max_streams": 1}, zmq={"silence_s": 0.5})
    dead = stray.connect(server.addresses.zmq)  # it answers no ping
    dead.sendall(stray.message(Open(client="t", shape=SHAPE, dtype="uint16")))
    peer = connect(server)
    deadline = time.monotonic() + 60
    while not isinstance(peer.ask(Open(client="t", shape=SHAPE, dtype="uint16")), Opened):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    dead.close()


def test_a_peer_that_does_not_read_gets_all_results_once_it_does(
    start_server: Any, connect: Any, make_counts: Any
) -> None:
    server = start_server(zmq={"window": 4, "max_window": 4})
    peer = connect(server, receive_queue=1)
    opened = peer.open(shape=(512, 512))
    frame = make_counts((512, 512))
    for seq in range(60):  # as if each RESULT's credit had been read: over_credit once the queues are full
        peer.send(Frame(opened.stream, seq, frame))
        time.sleep(0.02)
    answers = [peer.receive() for _ in range(60)]
    results = [answer.seq for answer in answers if isinstance(answer, Result)]
    refusals = {answer.code for answer in answers if isinstance(answer, Error)}
    assert refusals == {"over_credit", "sequence_gap"}
    assert len(results) >= 4
    assert results == list(range(len(results)))
    assert peer.denoise(opened.stream, len(results), frame).seq == len(results)


def wait_for_frames(request_of: Any, server: Any, count: int) -> None:
    """Wait until the only stream has accepted so many frames."""

    def accepted() -> int:
        (stream,) = json.loads(request_of("GET", "/v1/streams", server=server).body)["streams"]
        return int(stream["next_seq"])

    deadline = time.monotonic() + 60
    while accepted() < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stop_answers_every_accepted_frame(
    start_server: Any, connect: Any, request_of: Any, make_counts: Any
) -> None:
    server = start_server()
    peer = connect(server)
    opened = peer.open(shape=(600, 600))
    frame = make_counts((600, 600))
    for seq in range(8):
        peer.send(Frame(opened.stream, seq, frame))
    wait_for_frames(request_of, server, 8)
    server.begin_stop()
    assert [peer.receive().seq for _ in range(8)] == list(range(8))
    assert server.wait_stopped()


@pytest.mark.slow
def test_results_of_a_peer_that_is_gone_are_counted(
    start_server: Any, connect: Any, request_of: Any, make_counts: Any
) -> None:
    server = start_server()
    gone = connect(server, receive_queue=1)  # 32 MiB of results are more than what waits on the way
    opened = gone.open(shape=(1024, 1024), out_dtype="float32")
    for seq in range(8):
        gone.send(Frame(opened.stream, seq, make_counts((1024, 1024))))
    wait_for_frames(request_of, server, 8)
    gone.close()
    deadline = time.monotonic() + 60
    while b"dimstream_results_undeliverable_total 0.0" in request_of("GET", "/metrics", server=server).body:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert json.loads(request_of("GET", "/v1/streams", server=server).body) == {"streams": []}
    peer = connect(server)
    assert peer.denoise(peer.open().stream, 0, make_counts()).seq == 0
