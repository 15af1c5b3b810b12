"""Strangers at the streaming endpoint: whatever they send, the server answers PING and streams afterwards."""

import contextlib
import json
import socket
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dimstream_client.headers import HEADERS
from dimstream_client.messages import Close, Closed, Error, Ping, Pong, Result

SHAPE = (24, 32)
TYPES = st.sampled_from([b"DIM1" + name.encode() for name in HEADERS] + [b"", b"DIM1", b"DIM2PING"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted(
    {name for header in HEADERS.values() for name in header} | {"shape", "dtype", "codec", "crc32"}
)
MINE = "the peer's own stream"
VALUES: dict[str, Any] = {
    "stream": st.just(MINE) | st.text(max_size=8),
    "seq": st.integers(0, 9) | st.just(2**53 - 1),
    "seq_from": st.integers(0, 9),
    "seq_to": st.integers(0, 9) | st.just(2**53 - 1),
    "last_seq": st.integers(0, 9),
    "shape": st.sampled_from([[24, 32], [1, 1], [65535, 65535], [0, 0], [24, 32, 1]]),
    "dtype": st.sampled_from(["uint16", "uint8", "object"]),
    "codec": st.sampled_from(["none", "zlib", "lz4"]),
}
HEADER = st.dictionaries(st.sampled_from(FIELDS), st.none(), max_size=9).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES.get(name, JSON) | JSON for name in names})
)
PAYLOAD = st.sampled_from([b"", b"\0" * 1536, b"\xff" * 1536, b"x\x9c", b"\0" * 100_000]) | st.binary(
    max_size=40
)


@st.composite
def messages(draw: st.DrawFn) -> list[Any]:
    """Parts; a header that is still to be told the peer's stream is a dict."""
    first = draw(TYPES | st.binary(max_size=12))
    second: Any = draw(
        HEADER | st.binary(max_size=60) | st.sampled_from([b"{}", b"[" * 60_000, b"{" * 70_000])
    )
    return [first, second, *draw(st.lists(PAYLOAD, max_size=4))][: draw(st.integers(1, 6))]


def told(part: Any, stream: str) -> bytes:
    if isinstance(part, bytes):
        return part
    return json.dumps({name: stream if value == MINE else value for name, value in part.items()}).encode()


def answers_until_pong(peer: Any, mark: float) -> list[Any]:
    peer.send(Ping(t=mark))
    answers = [peer.receive()]
    while not (isinstance(answers[-1], Pong) and answers[-1].t == mark):
        answers.append(peer.receive())
    return answers


def check_it_streams(peer: Any, frame: Any) -> None:
    opened = peer.open()
    assert peer.denoise(opened.stream, 0, frame).status == "done"
    assert isinstance(peer.ask(Close(stream=opened.stream, last_seq=0)), Closed)


@pytest.fixture
def roomy(start_server: Any) -> Any:
    """A server with room for the streams of peers that went away."""
    return start_server(limits={"max_frame_bytes": 2**20, "max_streams": 65536, "max_credit": 10**7})


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(messages(), min_size=1, max_size=8))
def test_after_any_messages_the_server_answers_and_streams(
    roomy: Any, connect: Any, make_counts: Any, sent: list[list[Any]]
) -> None:
    peer = connect(roomy)
    stream = peer.open().stream
    for parts in sent:
        peer.socket.send_multipart([told(part, stream) for part in parts])
    answers = answers_until_pong(peer, mark=0.625)
    assert "internal" not in {answer.code for answer in answers if isinstance(answer, Error)}
    peer.close()
    # a stream's results may come late, so a peer of its own asks whether all is well
    check = connect(roomy)
    check_it_streams(check, make_counts())
    check.close()


def half_a_greeting(raw: socket.socket) -> None:
    raw.sendall(b"\xff\0\0\0\0")


def http_instead(raw: socket.socket) -> None:
    raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


def noise(raw: socket.socket) -> None:
    raw.sendall(bytes(range(256)) * 400)


def greeted(raw: socket.socket) -> None:
    """The greeting and handshake of ZMTP 3.0 for a DEALER without keys."""
    raw.sendall(b"\xff" + bytes(8) + b"\x7f\x03\0NULL" + bytes(16 + 32))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    raw.sendall(b"\x04" + bytes([len(ready)]) + ready)


def half_a_frame(raw: socket.socket) -> None:
    greeted(raw)
    raw.sendall(b"\x01\x09DIM1FRAME" + b"\x03" + struct.pack(">Q", 60_000) + b"x" * 1000)


def a_frame_that_is_announced_as_endless(raw: socket.socket) -> None:
    greeted(raw)
    raw.sendall(b"\x02" + struct.pack(">Q", 2**62))


def a_command_that_is_none(raw: socket.socket) -> None:
    greeted(raw)
    raw.sendall(b"\x04\xff" + b"\xff" * 255)


RAW: list[Callable[[socket.socket], None]] = [
    half_a_greeting,
    http_instead,
    noise,
    half_a_frame,
    a_frame_that_is_announced_as_endless,
    a_command_that_is_none,
]


@pytest.mark.parametrize("say", RAW, ids=lambda say: say.__name__)
def test_bytes_that_become_no_message_harm_nobody(
    server: Any, peer: Any, make_counts: Any, say: Callable[[socket.socket], None]
) -> None:
    host, port = server.addresses.zmq.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        say(raw)
        check_it_streams(peer, make_counts())  # while the stranger still holds its connection
    check_it_streams(peer, make_counts())


def test_a_message_of_too_many_parts_is_refused_in_words(peer: Any, make_counts: Any) -> None:
    refusal = peer.refusal(*[b"DIM1PING", b'{"t":1}'], *[b"x"] * 60)
    assert refusal.code == "bad_header"
    check_it_streams(peer, make_counts())


def test_a_message_of_thousands_of_parts_ends_its_connection(
    server: Any, peer: Any, make_counts: Any
) -> None:
    host, port = server.addresses.zmq.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        greeted(raw)
        raw.sendall(b"\1\0" * 5000)
        raw.settimeout(60)
        with contextlib.suppress(ConnectionResetError):
            while raw.recv(4096):
                pass
    check_it_streams(peer, make_counts())


@pytest.mark.slow
def test_a_frame_that_unpacks_to_gigabytes_is_refused_by_its_own_size(peer: Any, make_counts: Any) -> None:
    opened = peer.open()
    header = {"stream": opened.stream, "seq": 0, "shape": [24, 32], "dtype": "uint16", "codec": "zlib"}
    bomb = zlib.compress(bytes(2**28), 9)
    refusal = peer.refusal(b"DIM1FRAME", json.dumps(header).encode(), bomb)
    assert refusal.code == "wrong_size"
    assert isinstance(peer.denoise(opened.stream, 0, make_counts()), Result)


@pytest.mark.slow
def test_a_thousand_refusals_that_nobody_reads_are_bounded(
    start_server: Any, connect: Any, make_counts: Any
) -> None:
    server = start_server()
    deaf, peer = connect(server, receive_queue=1), connect(server)
    for _ in range(3000):
        deaf.socket.send_multipart([b"DIM1NONE", b"x" * 60_000])
    check_it_streams(peer, make_counts())
