"""Who comes in by ZeroMQ: real servers and real clients, keys right, wrong, missing and revoked."""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dimstream_client import Client, NotAdmitted
from dimstream_client.keys import CurveKeys, choose_curve_keys, make_pair
from dimstream_client.messages import Error, Frame, Open, Opened, Ping, Pong, Result
from dimstream_server.cli import main
from dimstream_server.security import access

FRAME = np.random.default_rng(0).poisson(3.0, (24, 32)).astype(np.uint16)
PATIENCE_S = 60.0


class Locksmith:
    """A locked server's keys, and as many clients' as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        assert main(["keygen", str(folder)]) == 0
        self.tables = {
            "server_secret_key": str(folder / "server.key"),
            "allowed_clients": str(folder / "clients"),
        }

    def files(self, name: str, *, admitted: bool = True) -> dict[str, Path]:
        """What a client is told: the keys of `name`, which the server knows or not."""
        secret, public = make_pair(self.folder / "own", name)
        if admitted:
            public.rename(self.folder / "clients" / public.name)
        return {"key": secret, "server_key": self.folder / "server.pub"}

    def keys(self, name: str, **options: bool) -> CurveKeys:
        keys = choose_curve_keys(**self.files(name, **options))
        assert keys is not None
        return keys

    def revoke(self, name: str) -> None:
        (self.folder / "clients" / f"{name}.pub").unlink()


@pytest.fixture
def locksmith(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Locksmith:
    monkeypatch.setattr(access, "LOOK_S", 0.05)
    return Locksmith(tmp_path / "keys")


def refusal(server: Any, **files: Path) -> str:
    """What a client is told that is not let in."""
    with (
        Client(server.addresses.zmq, timeout_s=PATIENCE_S, **files) as client,
        pytest.raises(NotAdmitted) as caught,  # told, not timed out
    ):
        client.ping()
    assert caught.value.code == "not_admitted"
    return caught.value.detail


def send_for(stream: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        stream.send(FRAME)
        time.sleep(0.02)


def test_who_has_a_key_that_is_allowed_streams(start_server: Any, locksmith: Locksmith) -> None:
    files = locksmith.files("amira")
    server = start_server("blur", zmq=locksmith.tables)
    with Client(server.addresses.zmq, **files) as client:
        results = list(client.stream([FRAME, FRAME]))
    assert [result.seq for result in results] == [0, 1]


def test_a_stream_is_known_by_the_name_of_its_key(
    start_server: Any, request_of: Any, locksmith: Locksmith, caplog: pytest.LogCaptureFixture
) -> None:
    files = locksmith.files("scope-3")
    server = start_server("blur", zmq=locksmith.tables)
    caplog.set_level("INFO")
    with (
        Client(server.addresses.zmq, **files) as client,
        client.open(shape=FRAME.shape, dtype="uint16") as stream,
    ):
        stream.send(FRAME)
        assert stream.take(timeout_s=60) is not None
        (listed,) = json.loads(request_of("GET", "/v1/streams", server=server).body)["streams"]
        assert (listed["client"], listed["program"]) == ("scope-3", "dimstream-client")
        metrics = request_of("GET", "/metrics", server=server).body.decode()
        assert f'dimstream_stream_open{{client="scope-3",stream="{listed["id"]}"}} 1.0' in metrics
    told = [record.getMessage() for record in caplog.records if listed["id"] in record.getMessage()]
    assert any("event=opened" in line for line in told)
    assert all("client='scope-3'" in line for line in told)


def test_others_are_told_at_once_what_is_wrong(start_server: Any, locksmith: Locksmith) -> None:
    server = start_server("blur", zmq=locksmith.tables)
    assert "does not know this key" in refusal(server, **locksmith.files("stranger", admitted=False))
    assert "expects keys and got none" in refusal(server)


def test_a_client_that_expects_another_server_sends_nothing(
    start_server: Any, locksmith: Locksmith, tmp_path: Path
) -> None:
    files = locksmith.files("amira")
    server = start_server("blur", zmq=locksmith.tables)
    _, other = make_pair(tmp_path, "other")
    with (
        Client(server.addresses.zmq, timeout_s=2, key=files["key"], server_key=other) as client,
        pytest.raises(NotAdmitted, match="the server key is"),
    ):
        client.ping()


def test_an_open_server_says_that_it_takes_no_keys(start_server: Any, locksmith: Locksmith) -> None:
    server = start_server("blur")
    assert "does not take keys and got one" in refusal(server, **locksmith.files("amira"))


def test_a_key_that_is_put_in_later_opens(start_server: Any, locksmith: Locksmith) -> None:
    files = locksmith.files("late", admitted=False)
    server = start_server("blur", zmq=locksmith.tables)
    refusal(server, **files)
    (locksmith.folder / "own" / "late.pub").rename(locksmith.folder / "clients" / "late.pub")
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(NotAdmitted), Client(server.addresses.zmq, **files) as client:
            assert client.ping().queue == 0
            break
        assert time.monotonic() < deadline


def test_a_revoked_key_ends_streams_and_new_connections(
    start_server: Any, locksmith: Locksmith, connect: Callable[..., Any]
) -> None:
    files, other = locksmith.files("amira"), locksmith.keys("bela")
    server = start_server("blur", zmq=locksmith.tables)
    stays = connect(server, keys=other)
    kept = stays.open().stream
    with Client(server.addresses.zmq, timeout_s=60, outage_s=0, **files) as client:
        stream = client.open(FRAME.shape, "uint16", on_result=lambda result: None)
        stream.send(FRAME)
        locksmith.revoke("amira")
        with pytest.raises(NotAdmitted, match="not admitted any more"):
            send_for(stream, PATIENCE_S)
    assert "does not know this key" in refusal(server, **files)
    assert isinstance(stays.denoise(kept, 0, FRAME), Result)  # others go on


def test_a_stream_waits_for_its_key_to_come_back(start_server: Any, locksmith: Locksmith) -> None:
    files = locksmith.files("amira")
    server = start_server("blur", zmq=locksmith.tables)
    public = locksmith.folder / "clients" / "amira.pub"
    with Client(server.addresses.zmq, **files) as client:
        stream = client.open(FRAME.shape, "uint16")
        results = stream.results()
        stream.send(FRAME)
        assert next(results).seq == 0
        kept = public.rename(locksmith.folder / "amira.pub")
        time.sleep(0.3)
        stream.send(FRAME)
        time.sleep(0.3)
        kept.rename(public)
        assert next(results).seq == 1


def test_a_revoked_peer_is_told_once_unasked_and_then_at_every_message(
    start_server: Any, locksmith: Locksmith, connect: Callable[..., Any]
) -> None:
    keys = locksmith.keys("bela")
    server = start_server("blur", zmq=locksmith.tables)
    peer = connect(server, keys=keys)
    stream = peer.open().stream
    locksmith.revoke("bela")
    told = peer.receive()
    assert isinstance(told, Error)
    assert (told.code, told.status, told.retryable) == ("not_admitted", 403, False)
    assert peer.ask(Frame(stream, 0, FRAME)).code == "not_admitted"
    assert peer.ask(Ping(1.0)).code == "not_admitted"
    assert peer.is_silent()


def test_a_stream_is_resumed_by_its_own_key_only(
    start_server: Any, locksmith: Locksmith, connect: Callable[..., Any]
) -> None:
    amira, bela = locksmith.keys("amira"), locksmith.keys("bela")
    server = start_server("blur", zmq=locksmith.tables)
    opened = connect(server, keys=amira).open()
    again = Open(
        client="test",
        model="blur",
        shape=(24, 32),
        dtype="uint16",
        stream=opened.stream,
        resume_token=opened.resume_token,
    )
    assert connect(server, keys=bela).ask(again).code == "bad_token"
    assert isinstance(connect(server, keys=amira).ask(again), Opened)


def test_clients_with_keys_do_not_name_themselves(
    start_server: Any, locksmith: Locksmith, connect: Callable[..., Any]
) -> None:
    keys = locksmith.keys("amira")
    server = start_server("blur", zmq=locksmith.tables)
    told = connect(server, keys=keys, routing_id=b"labview").ask(Ping(1.0))
    assert (told.code, "ZMQ_ROUTING_ID" in told.detail) == ("not_admitted", True)


def test_each_client_has_its_own_limits_whatever_its_connections(
    start_server: Any, locksmith: Locksmith, connect: Callable[..., Any]
) -> None:
    amira, bela = locksmith.keys("amira"), locksmith.keys("bela")
    limits = {"max_streams_per_client": 2, "max_credit_per_client": 10}
    server = start_server("blur", zmq=locksmith.tables, limits=limits)
    opened = Open(client="test", shape=(24, 32), dtype="uint16", window=8)
    assert connect(server, keys=amira).ask(opened).window == 8
    assert connect(server, keys=amira).ask(opened).window == 2
    third = connect(server, keys=amira).ask(opened)
    assert (third.code, third.retryable) == ("too_many_streams", True)
    assert "max_streams_per_client" in third.detail
    assert connect(server, keys=bela).ask(opened).window == 8


def test_a_server_without_keys_answers_whoever_comes(start_server: Any, connect: Callable[..., Any]) -> None:
    assert isinstance(connect(start_server("blur")).ask(Ping(1.0)), Pong)
