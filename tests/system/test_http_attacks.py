"""Clients that keep connections without using them, while an honest one asks: it is answered each time."""

import contextlib
import http.client
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.processes import Server
from http_clients import connect
from shipped import BUNDLE

from dimstream_client import Client

pytestmark = pytest.mark.slow

PATH = "/v1/models/er-sted-light/denoise"
DESCRIPTORS = 256
_LIMITED = ["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh"]
_A_ROUND = 20  # connections that an attack opens in 0.1 s: more is a matter of firewalls
FRAME = np.random.default_rng(0).poisson(3.0, (64, 64)).astype(np.uint16)


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Iterator[Server]:
    settings = {"http": {"head_s": 3.0, "stall_s": 3.0}}
    with Server(BUNDLE, tmp_path_factory.mktemp("attacked"), settings=settings, within=_LIMITED) as running:
        yield running


def body_of(frame: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, frame)
    return file.getvalue()


def resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Attack:
    """Opens connections without end in a thread, keeps them, and now and then says a little on each."""

    def __init__(
        self, url: str, hello: bytes, *, count: int, more: bytes = b"", source: str = "127.0.0.1"
    ) -> None:
        self._url, self._hello, self.count, self._more = url, hello, count, more
        self._source = source
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.open: list[Any] = []
        self.made = 0

    def __enter__(self) -> "Attack":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for one in self.open:
            one.close()

    def _work(self) -> None:
        while not self._stop.is_set():
            self.open = [one for one in self.open if self._goes_on(one)]
            for _ in range(min(_A_ROUND, self.count - len(self.open))):
                with contextlib.suppress(OSError):
                    self.open.append(connect(self._url, self._source))
                    self.made += 1
                    self.open[-1].setblocking(False)
                    self.open[-1].send(self._hello)
            self._stop.wait(0.1)

    def _goes_on(self, one: Any) -> bool:
        try:
            one.send(self._more)
            if one.recv(1000) == b"":
                raise ConnectionError
        except BlockingIOError:
            return True
        except OSError:
            one.close()
            return False
        return True


def half_heads(url: str) -> Attack:
    return Attack(url, b"GET /livez HTTP/1.1\r\nHost: loc", count=400, more=b"a")


def no_heads(url: str) -> Attack:
    return Attack(url, b"", count=400)


def tricklers(url: str) -> Attack:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n".encode()
    return Attack(url, head, count=8, more=bytes(2300))


def tiny_chunks(url: str) -> Attack:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return Attack(url, head, count=20, more=b"1\r\nx\r\n" * 5000)


def pipelines(url: str) -> Attack:
    request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    return Attack(url, request * 50, count=20, more=request, source="127.0.0.2")


def large_heads(url: str) -> Attack:
    return Attack(url, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000, count=50, more=b"x" * 10_000)


ATTACKS: dict[str, list[Callable[[str], Attack]]] = {
    "half heads": [half_heads],
    "no heads": [no_heads],
    "tricklers": [tricklers],
    "tiny chunks": [tiny_chunks],
    "pipelines": [pipelines],
    "large heads": [large_heads],
    "all at once": [half_heads, no_heads, tricklers, tiny_chunks, pipelines, large_heads],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_honest_client_is_answered_meanwhile(server: Server, name: str) -> None:
    address = server.http.removeprefix("http://")
    body = body_of(FRAME)
    kept = http.client.HTTPConnection(address, timeout=60)
    before = resident_mib(server.pid)
    with contextlib.ExitStack() as stack:
        attacks = [stack.enter_context(make(server.http)) for make in ATTACKS[name]]
        deadline = time.monotonic() + 1.5
        answered = 0
        while time.monotonic() < deadline or answered < 3 or any(one.made < one.count for one in attacks):
            fresh = http.client.HTTPConnection(address, timeout=60)
            for connection in (kept, fresh):
                connection.request("POST", PATH, body)
                response = connection.getresponse()
                assert (response.status, len(response.read()) > 0) == (200, True)
            fresh.close()
            answered += 1
        with Client(server.endpoint) as client, client.open(FRAME.shape, FRAME.dtype) as stream:
            stream.send(FRAME)
            result = stream.take(timeout_s=60)
            assert result is not None
            assert result.pixels is not None
        assert len(os.listdir(f"/proc/{server.pid}/fd")) < DESCRIPTORS - 50
    kept.close()
    assert resident_mib(server.pid) < before + 100


def test_connections_that_are_only_kept_cost_nothing(server: Server) -> None:
    with no_heads(server.http) as silent, half_heads(server.http) as halves:
        while silent.made + halves.made < 300:
            time.sleep(0.05)
    kept = [connect(server.http) for _ in range(300)]
    time.sleep(0.5)
    before = cpu_s(server.pid)
    time.sleep(1.5)
    assert cpu_s(server.pid) - before < 0.3
    for one in kept:
        one.close()


def test_half_a_head_ends_in_time_and_is_told_so(server: Server) -> None:
    with connect(server.http) as half:
        half.sendall(b"GET /livez HTTP/1.1\r\nHost: loc")
        began = time.monotonic()
        answer = b""
        while piece := half.recv(65536):
            answer += piece
            half.send(b"a") if not answer else None
        assert time.monotonic() - began < 60
        assert b"408" in answer.split(b"\r\n")[0]
        assert b'"code":"request_timeout"' in answer
    assert "code=request_timeout address=127.0.0.1" in server.log or "code=server_busy" in server.log
