"""`dimstream_client.live` against a real server: a stream is followed, scrubbed, lost and found again."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from ports import free_port

from dimstream_client.errors import ConnectionLost, NotAdmitted, ProtocolError
from dimstream_client.keys import TOKEN, make_token, read_only_entry
from dimstream_client.live import (
    FollowedFrames,
    FollowedStream,
    LiveConnection,
    LiveMessage,
    ShownFrame,
    StreamFollower,
    decode,
)
from dimstream_client.messages import Frame, PlaneIndex

SHAPE = (24, 32)
PATIENCE_S = 60
FRAME_BYTES = 2 * 24 * 32 * 2  # raw and denoised


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
    return found


@pytest.fixture
def follow() -> Iterator[Callable[..., StreamFollower]]:
    opened: list[StreamFollower] = []

    def make(server: str, **options: Any) -> StreamFollower:
        opened.append(StreamFollower(server, **options))
        return opened[-1]

    yield make
    for follower in opened:
        follower.close()


def send(peer: Any, stream: str, counts: Any, seqs: range) -> list[Any]:
    return [peer.denoise(stream, seq, counts(SHAPE, seed=seq)) for seq in seqs]


def test_a_stream_is_followed_and_any_frame_comes_again(
    server: Any, peer: Any, make_counts: Any, follow: Any
) -> None:
    stream = peer.open(SHAPE, pixel_size_um=0.02).stream
    results = send(peer, stream, make_counts, range(4))
    follower = follow(server.addresses.http)
    follower.follow(stream)
    wait_for(lambda: len(follower.seqs()) == 4 and follower.stream)
    assert (follower.stream.shape, follower.stream.pixel_size_um) == (SHAPE, 0.02)
    raw, denoised = FollowedFrames(follower, "raw"), FollowedFrames(follower, "denoised")
    assert (raw.shape, raw.dtype, denoised.ndim) == ((4, *SHAPE), np.uint16, 3)
    for seq in (2, 0, 3, 2):
        np.testing.assert_array_equal(raw[seq], make_counts(SHAPE, seed=seq))
        np.testing.assert_array_equal(denoised[seq, 3:9, ::2], results[seq].pixels[3:9, ::2])
        assert denoised.shown(seq).flag == results[seq].flag
    send(peer, stream, make_counts, range(4, 6))
    wait_for(lambda: (raw.grow(), len(raw) == 6)[1])
    wait_for(lambda: follower.newest.seq == 5)
    np.testing.assert_array_equal(raw[-1], make_counts(SHAPE, seed=5))
    assert np.asarray(raw).shape == (6, *SHAPE)


def test_what_is_gone_reads_as_zeros_and_is_named(
    start_server: Any, connect: Any, make_counts: Any, follow: Any
) -> None:
    server = start_server("blur", live={"memory_bytes": 3 * FRAME_BYTES})
    peer = connect(server)
    stream = peer.open(SHAPE).stream
    send(peer, stream, make_counts, range(6))
    follower = follow(server.addresses.http)
    follower.follow(stream)
    wait_for(lambda: len(follower.seqs()) == 6 and follower.stream)
    raw = FollowedFrames(follower, "raw")
    assert not raw[0].any()
    assert raw.unavailable == {0}
    np.testing.assert_array_equal(raw[5], make_counts(SHAPE, seed=5))


def test_the_cache_is_bounded(server: Any, peer: Any, make_counts: Any, follow: Any) -> None:
    stream = peer.open(SHAPE).stream
    send(peer, stream, make_counts, range(6))
    follower = follow(server.addresses.http, cache_bytes=3 * FRAME_BYTES)
    follower.follow(stream)
    wait_for(lambda: len(follower.seqs()) == 6 and follower.stream)
    raw = FollowedFrames(follower, "raw")
    for seq in [*range(6), 0]:
        np.testing.assert_array_equal(raw[seq], make_counts(SHAPE, seed=seq))
    assert len(follower._cache) <= 3


def test_one_plane_of_several_is_followed(server: Any, peer: Any, make_counts: Any, follow: Any) -> None:
    stream = peer.open(SHAPE).stream
    for seq in range(6):
        index = PlaneIndex(t=seq // 2, z=seq % 2)
        pixels = make_counts(SHAPE, seed=seq)
        peer.ask(Frame(stream=stream, seq=seq, pixels=pixels, index=index))
    follower = follow(server.addresses.http)
    follower.follow(stream, (0, 1, 0))
    wait_for(lambda: follower.stream is not None and follower.seqs().tolist() == [1, 3, 5])
    np.testing.assert_array_equal(FollowedFrames(follower, "raw")[1], make_counts(SHAPE, seed=3))


def test_a_server_that_comes_later_is_found(start_server: Any, follow: Any) -> None:
    port = free_port()
    follower = follow(f"http://127.0.0.1:{port}")
    wait_for(lambda: "no live view at" in (follower.problem or ""))
    start_server("blur", http={"address": f"127.0.0.1:{port}"})
    wait_for(lambda: follower.problem is None)


def test_a_token_is_asked_for_and_taken(start_server: Any, tmp_path: Any, follow: Any) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    path = make_token(tokens, "office")
    server = start_server("blur", http={"tokens": tokens})
    with pytest.raises(NotAdmitted, match="give one of its tokens"):
        LiveConnection(server.addresses.http)
    follower = follow(server.addresses.http, token=read_only_entry(path, TOKEN).value)
    wait_for(lambda: follower.problem is None)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:5570", "127.0.0.1:8570", "http://"])
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(ConnectionLost, match="expected http://HOST:PORT"):
        LiveConnection(address)


def with_array(dtype: str) -> bytes:
    header = json.dumps({"parts": [{"name": "raw", "dtype": dtype, "shape": [2, 2], "offset": 0}]}).encode()
    return len(header).to_bytes(4, "little") + header


BAD_MESSAGES = {
    "empty": b"",
    "header cut": b"\x40\x00\x00\x00{}",
    "no JSON": b"\x02\x00\x00\x00{{",
    "a list": b"\x02\x00\x00\x00[]",
    "array beyond the end": with_array("uint16"),
    "unknown type": with_array("object") + bytes(64),
}


@pytest.mark.parametrize("case", BAD_MESSAGES)
def test_bytes_that_are_no_message_are_refused(case: str) -> None:
    with pytest.raises(ProtocolError, match="expected a message of the live view"):
        decode(BAD_MESSAGES[case])


UNFIT_HEADERS: dict[str, dict[str, Any]] = {
    "no streams": {"type": "status"},
    "a stream without a shape": {"type": "status", "streams": [{"stream": "a"}]},
    "streams that are none": {"type": "status", "streams": 3},
    "a frame without a number": {"type": "frame", "stream": "a"},
    "a frame of no plane": {"type": "frame", "stream": "a", "seq": 1, "index": {"t": 0, "colour": 1}},
}


@pytest.mark.parametrize("case", UNFIT_HEADERS)
def test_headers_that_lack_what_they_must_have_are_refused(case: str) -> None:
    header = UNFIT_HEADERS[case]
    of = FollowedStream.all_of if header["type"] == "status" else ShownFrame.of
    with pytest.raises(ProtocolError, match=f"expected a message '{header['type']}' of the live view"):
        of(LiveMessage(header, {}))
