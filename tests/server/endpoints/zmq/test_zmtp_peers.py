"""What the streaming endpoint says to peers of other versions, sockets and manners (RFC 23, 26, 37)."""

from __future__ import annotations

import time
from typing import Any

import pytest
import zmq
from zmtp_peers import COMMAND, DEALER, CurveClient, RawPeer

from dimstream_client.keys import CurveKeys, choose_curve_keys, make_pair
from dimstream_client.messages import Ping, Pong
from dimstream_server.cli import main

SOON_S = 8.0  # less than a handshake may take
PING = b"\x04PING"
OLD = {
    "HTTP": b"GET / HTTP/1.1\r\n",
    "ZMTP 1.0 without a name": b"\x01\x00",
    "ZMTP 1.0 with a long name": b"\xff" + (300).to_bytes(8, "big") + b"\x00",
    "ZMTP 2.0": b"\xff" + bytes(7) + b"\x01\x7f\x01\x05",
}


@pytest.fixture
def keys(tmp_path: Any) -> CurveKeys:
    """A client's, whom the server of `locked` admits."""
    assert main(["keygen", str(tmp_path / "keys")]) == 0
    secret, public = make_pair(tmp_path / "keys" / "own", "one")
    public.rename(tmp_path / "keys" / "clients" / public.name)
    chosen = choose_curve_keys(key=secret, server_key=tmp_path / "keys" / "server.pub")
    assert isinstance(chosen, CurveKeys)
    return chosen


@pytest.fixture
def locked(start_server: Any, keys: CurveKeys, tmp_path: Any) -> Any:
    folder = tmp_path / "keys"
    return start_server(
        zmq={"server_secret_key": str(folder / "server.key"), "allowed_clients": str(folder / "clients")}
    )


@pytest.mark.parametrize("start", OLD.values(), ids=OLD)
def test_who_speaks_no_zmtp_3_is_hung_up_on_at_once(server: Any, start: bytes) -> None:
    with RawPeer(server.addresses.zmq) as raw:
        raw.socket.sendall(start)
        assert raw.hung_up(within_s=SOON_S)


def test_a_greeting_that_comes_byte_by_byte_is_read(server: Any) -> None:
    with RawPeer(server.addresses.zmq) as raw:
        ready = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER"
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)
        for byte in greeting + bytes((COMMAND, len(ready))) + ready + b'\x01\x08DIM1PING\0\x07{"t":1}':
            raw.socket.sendall(bytes([byte]))
        raw.exactly(64)
        assert raw.frame()[1].startswith(b"\x05READY")
        assert raw.frame()[1] == b"DIM1PONG"


def test_the_server_says_ready_after_its_client_only(server: Any) -> None:
    with RawPeer(server.addresses.zmq) as raw:
        raw.greet()
        raw.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            raw.frame()


REFUSED = {
    b"Invalid-Socket-Type": {b"Socket-Type": b"REQ"},
    b"Invalid-Identity": {**DEALER, b"Identity": b"\0" + bytes(8)},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_handshake_is_refused_in_words(server: Any, reason: bytes) -> None:
    with RawPeer(server.addresses.zmq) as raw:
        assert raw.shake(properties=REFUSED[reason]) == b"\x05ERROR" + bytes([len(reason)]) + reason
        assert raw.hung_up()


@pytest.mark.parametrize("reason", REFUSED)
def test_an_encrypted_handshake_is_refused_in_words(locked: Any, keys: CurveKeys, reason: bytes) -> None:
    """No client may name itself as the server names others: their results could come to it."""
    with RawPeer(locked.addresses.zmq) as raw:
        client = CurveClient.of(keys)
        raw.greet(mechanism=b"CURVE")
        raw.command(client.hello())
        client.welcome(raw.frame()[1])
        raw.command(client.initiate(properties=REFUSED[reason]))
        assert raw.frame() == (COMMAND, b"\x05ERROR" + bytes([len(reason)]) + reason)
        assert raw.hung_up()


def test_encrypted_parts_may_come_as_commands_and_nonces_begin_with_zero(
    locked: Any, keys: CurveKeys
) -> None:
    with RawPeer(locked.addresses.zmq) as raw:
        client = CurveClient.of(keys, first_nonce=0)
        raw.greet(mechanism=b"CURVE")
        raw.command(client.hello())
        client.welcome(raw.frame()[1])
        raw.command(client.initiate())
        assert raw.frame()[1].startswith(b"\x05READY")
        raw.command(client.part(1, b"DIM1PING"))
        large = client.part(0, b'{"t":1,"more":"' + b"x" * 20_000 + b'"}')
        raw.socket.sendall(b"\x06" + len(large).to_bytes(8, "big") + large)
        assert client.opened(raw.frame()[1]) == (1, b"DIM1PONG")


def test_a_req_socket_of_libzmq_is_told(server: Any) -> None:
    context = zmq.Context()
    asking = context.socket(zmq.REQ)
    events = asking.get_monitor_socket()
    asking.connect(server.addresses.zmq)
    asking.send(b"DIM1PING")
    heard: list[int] = []
    while zmq.EVENT_DISCONNECTED not in heard:
        assert events.poll(60_000), heard
        heard.append(int.from_bytes(events.recv_multipart()[0][:2], "little"))
    assert zmq.EVENT_HANDSHAKE_SUCCEEDED not in heard
    context.destroy(linger=0)


CONTEXTS = [b"", b"abc", bytes(range(16))]


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_ping_is_answered_with_its_context(server: Any, context: bytes) -> None:
    with RawPeer(server.addresses.zmq) as raw:
        raw.shake()
        raw.command(PING + b"\0\0" + context)
        assert raw.frame() == (COMMAND, b"\x04PONG" + context)


def test_commands_between_the_parts_of_a_message_and_unknown_ones_change_nothing(server: Any) -> None:
    with RawPeer(server.addresses.zmq) as raw:
        raw.shake()
        raw.socket.sendall(b"\x01\x08DIM1PING")
        raw.command(PING + b"\0\0!")
        raw.command(b"\x09SUBSCRIBEall")
        raw.command(b"\x06CANCEL")
        raw.command(b"\x04JOINus")
        raw.socket.sendall(b'\0\x07{"t":1}')
        assert raw.frame() == (COMMAND, b"\x04PONG!")
        assert raw.frame() == (1, b"DIM1PONG")


def test_who_breaks_the_time_to_live_of_its_own_ping_is_given_up(server: Any) -> None:
    with RawPeer(server.addresses.zmq) as silent, RawPeer(server.addresses.zmq) as lively:
        for raw in (silent, lively):
            raw.shake()
            raw.command(PING + (20).to_bytes(2, "big"))
        lively.message(b"DIM1PING", b'{"t":1}')
        assert silent.hung_up(within_s=20)  # below zmq.silence_s
        assert not lively.hung_up(within_s=0.5)


def test_a_silent_peer_of_zmtp_3_1_is_pinged_and_then_given_up(start_server: Any) -> None:
    server = start_server(zmq={"silence_s": 0.9})
    with RawPeer(server.addresses.zmq) as raw:
        raw.shake()
        assert raw.frame() == (COMMAND, PING + b"\0\0")
        assert raw.hung_up()


def test_a_silent_peer_of_zmtp_3_0_is_not_pinged_and_stays(start_server: Any) -> None:
    """To libzmq before 4.2 a ping would be a message, or nothing that it answers."""
    server = start_server(zmq={"silence_s": 0.9})
    with RawPeer(server.addresses.zmq) as raw:
        raw.shake(minor=0)
        time.sleep(2.5)
        raw.message(b"DIM1PING", b'{"t":1}')
        assert raw.frame() == (1, b"DIM1PONG")


def test_what_a_peer_said_before_it_stopped_sending_counts(server: Any, connect: Any) -> None:
    """A socket closed for sending is a client that is gone; the endpoint goes on with others."""
    with RawPeer(server.addresses.zmq) as raw:
        raw.shake()
        raw.message(b"DIM1PING", b'{"t":1}')
        raw.socket.shutdown(1)
        assert raw.frame() == (1, b"DIM1PONG")
        assert raw.hung_up()
    assert isinstance(connect(server).ask(Ping(t=0.5)), Pong)


def test_who_comes_back_under_its_name_takes_it_over(server: Any, connect: Any) -> None:
    first = connect(server, routing_id=b"microscope")
    assert isinstance(first.ask(Ping(t=0.5)), Pong)
    with RawPeer(server.addresses.zmq) as raw:
        raw.shake(properties={**DEALER, b"Identity": b"microscope"})
        raw.message(b"DIM1PING", b'{"t":1}')
        assert raw.frame() == (1, b"DIM1PONG")
        first.close()
        raw.frame()
        raw.message(b"DIM1PING", b'{"t":2}')
        assert raw.frame() == (1, b"DIM1PONG")
