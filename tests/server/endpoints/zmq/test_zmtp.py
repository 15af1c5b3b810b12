"""ZMTP frames and CURVE handshakes without sockets: literal bytes, any cut, and bytes of bad intent."""

from __future__ import annotations

import functools
import socket
import time
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings
from zmq.utils import z85
from zmtp_peers import CurveClient

from dimstream_server.endpoints.zmq import zmtp
from dimstream_server.endpoints.zmq.curve import CurveHandshake
from dimstream_server.endpoints.zmq.zmtp import COMMAND, MORE, FrameReader, ZmtpError

FRAMES = st.lists(
    st.tuples(
        st.sampled_from([0, MORE, COMMAND]),
        st.binary(max_size=300) | st.sampled_from([bytes(255), bytes(256), bytes(70_000), bytes(200_000)]),
    ),
    max_size=6,
)


def most(limit: int) -> Any:
    def admit(flags: int, size: int) -> None:
        if size > limit:
            raise ZmtpError("too large")

    return admit


def feed(reader: FrameReader, content: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    """Frames that come of bytes that arrive in pieces of these sizes, and the rest as it fits."""
    found, at = [], 0
    sizes = iter(cuts)
    while at < len(content):
        buffer = reader.buffer()
        assert len(buffer) > 0
        count = min(len(buffer), len(content) - at, next(sizes, len(content)))
        buffer[:count] = content[at : at + count]
        reader.received(count)
        at += count
        while (frame := reader.next_frame()) is not None:
            found.append((frame.flags, bytes(frame.body)))
    return found


@given(frames=FRAMES, cuts=st.lists(st.integers(1, 70_000), max_size=30))
def test_frames_are_the_same_however_their_bytes_arrive(
    frames: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    content = b"".join(zmtp.head_of(flags, len(body)) + body for flags, body in frames)
    assert feed(FrameReader(most(2**20)), content, cuts) == frames


SAID = [[b"a"], [b"", bytes(255), bytes(256)], [b"DIM1FRAME", b"{}", bytes(150_000)], [b"", b""], [b"end"]]


@functools.cache
def said_by_libzmq() -> bytes:
    """Every byte of a DEALER that says these messages, with pings between them."""
    context, listener = zmq.Context(), socket.create_server(("127.0.0.1", 0))
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.HEARTBEAT_IVL, 10)
    dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20_000)
    dealer.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    ready = zmtp.command(b"READY", zmtp.metadata({b"Socket-Type": b"ROUTER"}))
    heard = b""
    with listener, listener.accept()[0] as connection:
        connection.sendall(zmtp.greeting(zmtp.NULL) + zmtp.head_of(COMMAND, len(ready)) + ready)
        for parts in SAID:
            dealer.send_multipart(parts)
            time.sleep(0.03)
        ended = b"\0\x03end"
        while b"\x04PING" not in heard or not (heard.endswith(ended) or ended + b"\x04" in heard):
            heard += connection.recv(65_536)
    context.destroy(linger=0)
    return heard


@given(cuts=st.lists(st.integers(1, 300) | st.integers(1, 70_000), max_size=60))
def test_what_libzmq_says_is_read_alike_however_it_is_cut(cuts: list[int]) -> None:
    content = said_by_libzmq()
    assert zmtp.knows_pings(content[: zmtp.GREETING_BYTES])
    frames = feed(FrameReader(most(2**20)), content[zmtp.GREETING_BYTES :], cuts)
    commands = [body for flags, body in frames if flags & COMMAND]
    assert zmtp.parse_command(commands[0])[0] == b"READY"
    assert {zmtp.parse_command(body)[0] for body in commands[1:]} == {b"PING"}
    parts = [(flags, body) for flags, body in frames if not flags & COMMAND]
    assert parts == [(MORE if n < len(one) - 1 else 0, part) for one in SAID for n, part in enumerate(one)]


def test_frames_are_these_bytes() -> None:
    assert zmtp.head_of(MORE, 3) + b"abc" == b"\x01\x03abc"
    assert zmtp.head_of(0, 256) == b"\x02\0\0\0\0\0\0\x01\0"
    assert zmtp.head_of(COMMAND, 5) == b"\x04\x05"
    assert zmtp.greeting(zmtp.CURVE) == (
        b"\xff\0\0\0\0\0\0\0\0\x7f\x03\x01CURVE" + bytes(15) + b"\x01" + bytes(31)
    )


@given(content=st.binary(max_size=200))
def test_any_bytes_become_frames_or_one_error(content: bytes) -> None:
    try:
        feed(FrameReader(most(1000)), content, [])
    except ZmtpError:
        pass


@pytest.mark.parametrize("size", [1001, 2**62, 2**64 - 1])
def test_a_frame_is_refused_by_its_announced_size(size: int) -> None:
    with pytest.raises(ZmtpError, match="too large"):
        feed(FrameReader(most(1000)), zmtp.head_of(zmtp.LONG, size), [])


@given(data=st.binary(max_size=100))
def test_any_metadata_are_read_or_refused(data: bytes) -> None:
    try:
        found = zmtp.parse_metadata(data)
    except ZmtpError:
        return
    assert zmtp.parse_metadata(zmtp.metadata(found)) == found


# --- CURVE, against a client that is written down from RFC 26

SERVER_PUBLIC, SERVER_SECRET = map(z85.decode, zmq.curve_keypair())


@pytest.fixture
def client() -> CurveClient:
    return CurveClient(SERVER_PUBLIC)


@pytest.fixture
def server() -> CurveHandshake:
    return CurveHandshake(SERVER_SECRET)


def shake(client: CurveClient, server: CurveHandshake) -> tuple[bytes, bytes]:
    client.welcome(server.welcome(client.hello()))
    return server.client_of(client.initiate())


def test_a_handshake_proves_the_clients_key(client: CurveClient, server: CurveHandshake) -> None:
    key, properties = shake(client, server)
    assert key == client.public
    assert zmtp.parse_metadata(properties) == {b"socket-type": b"DEALER"}
    flags, content = server.unseal(client.part(1, b"pixels"))
    assert (flags, bytes(content)) == (MORE, b"pixels")
    assert server.unseal(client.part(2, b"\x04PING\0\0"))[0] == COMMAND


def test_a_hello_for_another_server_is_refused(client: CurveClient) -> None:
    with pytest.raises(ZmtpError, match="do not belong together"):
        CurveHandshake(z85.decode(zmq.curve_keypair()[1])).welcome(client.hello())


def test_who_has_another_ones_public_key_only_is_refused(client: CurveClient, server: CurveHandshake) -> None:
    client.welcome(server.welcome(client.hello()))
    _, other_secret = bindings.crypto_box_keypair()
    with pytest.raises(ZmtpError, match="do not belong together"):
        server.client_of(client.initiate(secret=other_secret))


def test_a_vouch_for_another_server_is_refused(client: CurveClient, server: CurveHandshake) -> None:
    """A server that a client trusts must not pass itself off as that client here."""
    client.welcome(server.welcome(client.hello()))
    with pytest.raises(ZmtpError, match="vouches"):
        server.client_of(client.initiate(server=bytes(32)))


def test_the_cookie_of_another_handshake_is_refused(client: CurveClient, server: CurveHandshake) -> None:
    client.welcome(server.welcome(client.hello()))
    client.cookie = bytes(96)
    with pytest.raises(ZmtpError, match="cookie"):
        server.client_of(client.initiate())


def test_a_handshake_that_skips_a_step_is_refused(client: CurveClient, server: CurveHandshake) -> None:
    client.server_transient, client.cookie = bytes([9] + 31 * [0]), bytes(96)
    client.shared = bytes(32)
    with pytest.raises(ZmtpError, match="INITIATE"):
        server.client_of(client.initiate())


def test_a_part_that_comes_twice_or_was_changed_is_refused(
    client: CurveClient, server: CurveHandshake
) -> None:
    shake(client, server)
    part = client.part(0, b"x" * 50)
    server.unseal(part)
    with pytest.raises(ZmtpError, match="nonce"):
        server.unseal(part)
    for at in (8, 20, 40, len(part) - 1):
        changed = bytearray(client.part(0, b"x" * 50))
        changed[at] ^= 1
        with pytest.raises(ZmtpError):
            server.unseal(changed)


@given(body=st.binary(max_size=400), step=st.integers(0, 2))
def test_any_bytes_in_a_handshake_raise_one_error(body: bytes, step: int) -> None:
    client, server = CurveClient(SERVER_PUBLIC), CurveHandshake(SERVER_SECRET)
    if step > 0:
        client.welcome(server.welcome(client.hello()))
    if step > 1:
        server.client_of(client.initiate())
    for name, take in ((b"\x05HELLO", server.welcome), (b"\x08INITIATE", server.client_of)):
        with pytest.raises(ZmtpError):
            take(name + body)
    with pytest.raises(ZmtpError):
        server.unseal(b"\x07MESSAGE" + body)
