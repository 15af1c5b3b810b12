"""A real server with tiny networks in a thread of this process, and a raw peer of its ZeroMQ endpoint."""

import asyncio
import contextlib
import http.client
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import uvloop
import zmq

from dimstream_client.keys import CurveKeys
from dimstream_client.messages import Error, Frame, Message, Open, Opened, Result
from dimstream_client.wire import decode, encode
from dimstream_models.bundle import Bundle
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import Engine
from dimstream_server.ready_file import Addresses
from dimstream_server.server_parts import engine_limits
from dimstream_server.serving import serve_until
from dimstream_server.settings import Settings
from dimstream_server.settings_file import make_settings
from dimstream_server.workers import WorkersEngine
from dimstream_server.workers.worker_list import named_workers

TIMEOUT_S = 60


@dataclass
class RunningServer:
    """A server in a thread: where it is, and how to stop it."""

    addresses: Addresses
    engine: Engine
    _stop: Callable[[], None]
    _thread: threading.Thread
    _outcome: list[bool]

    def begin_stop(self) -> None:
        self._stop()

    def wait_stopped(self) -> bool:
        """Whether everything accepted was answered."""
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        return self._outcome[0]


class Peer:
    """A DEALER that says exactly what a test tells it to."""

    def __init__(
        self,
        endpoint: str,
        *,
        receive_queue: int | None = None,
        keys: CurveKeys | None = None,
        routing_id: bytes | None = None,
    ) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        if receive_queue is not None:
            self.socket.setsockopt(zmq.RCVHWM, receive_queue)
            self.socket.setsockopt(zmq.RCVBUF, 4096)
        if keys is not None:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        if routing_id is not None:
            self.socket.setsockopt(zmq.ROUTING_ID, routing_id)
        self.socket.connect(endpoint)

    def send(self, message: Message, **options: Any) -> None:
        self.socket.send_multipart(encode(message, **options))

    def receive(self, *, timeout_s: float = TIMEOUT_S) -> Any:
        assert self.socket.poll(timeout_s * 1000), "no answer came"
        return decode(self.socket.recv_multipart(), max_payload_bytes=1 << 30)

    def is_silent(self, *, for_s: float = 0.1) -> bool:
        return not self.socket.poll(for_s * 1000)

    def ask(self, message: Message, **options: Any) -> Any:
        self.send(message, **options)
        return self.receive()

    def refusal(self, *parts: bytes) -> Error:
        self.socket.send_multipart(parts)
        answer = self.receive()
        assert isinstance(answer, Error)
        return answer

    def open(self, shape: tuple[int, int] = (24, 32), dtype: str = "uint16", **fields: Any) -> Opened:
        answer = self.ask(Open(**{"client": "test", "model": "blur", **fields}, shape=shape, dtype=dtype))
        assert isinstance(answer, Opened), answer
        return answer

    def denoise(self, stream: str, seq: int, pixels: Any) -> Result:
        answer = self.ask(Frame(stream=stream, seq=seq, pixels=pixels))
        assert isinstance(answer, Result), answer
        return answer

    def close(self) -> None:
        self._context.destroy(linger=0)


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def array(self) -> Any:
        return np.load(io.BytesIO(self.body), allow_pickle=False)


ServerMaker = Callable[..., RunningServer]


def start(bundles: list[Bundle], tables: dict[str, Any]) -> RunningServer:
    local = {"zmq": {"endpoint": "tcp://127.0.0.1:0"}, "http": {"address": "127.0.0.1:0"}}
    merged = {name: {**local.get(name, {}), **tables.get(name, {})} for name in {*local, *tables}}
    settings = make_settings(merged, source="test")
    ready = threading.Event()
    found: dict[str, Any] = {}
    outcome: list[bool] = []

    def load(settings: Settings) -> Engine:
        limits = engine_limits(settings)
        if settings.workers.are_named:
            found["engine"] = WorkersEngine(bundles, named_workers(settings), limits=limits)
        else:
            found["engine"] = LocalEngine(bundles, devices=settings.server.device, limits=limits, threads=1)
        return found["engine"]

    def on_ready(addresses: Addresses) -> None:
        found["addresses"] = addresses
        ready.set()

    async def run() -> None:
        stop = asyncio.Event()
        found["stop"] = lambda: found["loop"].call_soon_threadsafe(stop.set)
        found["loop"] = asyncio.get_running_loop()
        outcome.append(await serve_until(stop, settings, load=load, on_ready=on_ready))

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(TIMEOUT_S)
    return RunningServer(found["addresses"], found["engine"], found["stop"], thread, outcome)


def stop(server: RunningServer) -> None:
    if server._thread.is_alive():
        server.begin_stop()
        server.wait_stopped()


@pytest.fixture(scope="module")
def server(tiny_bundle: Callable[..., Bundle]) -> Iterator[RunningServer]:
    """One server with the models `blur` and `raising` for the tests of a module."""
    running = start(
        [tiny_bundle("blur"), tiny_bundle("raising")],
        {"limits": {"max_frame_bytes": 2**20}, "http": {"max_body_bytes": 2**22}},
    )
    yield running
    stop(running)


def make_servers(tiny_bundle: Callable[..., Bundle]) -> Iterator[ServerMaker]:
    running: list[RunningServer] = []

    def make(*kinds: str | Bundle, **tables: Any) -> RunningServer:
        bundles = [tiny_bundle(kind) if isinstance(kind, str) else kind for kind in kinds or ("blur",)]
        running.append(start(bundles, tables))
        return running[-1]

    yield make
    for one in running:
        stop(one)


@pytest.fixture
def start_server(tiny_bundle: Callable[..., Bundle]) -> Iterator[ServerMaker]:
    """Maker of servers: `start_server("blur", some_bundle, …, limits={…})`."""
    yield from make_servers(tiny_bundle)


@pytest.fixture(scope="module")
def start_module_server(tiny_bundle: Callable[..., Bundle]) -> Iterator[ServerMaker]:
    """Maker of servers for the tests of a module."""
    yield from make_servers(tiny_bundle)


@pytest.fixture
def connect() -> Iterator[Callable[..., Peer]]:
    """Maker of peers: `connect(server)`."""
    peers: list[Peer] = []

    def make(running: RunningServer, **options: Any) -> Peer:
        peers.append(Peer(running.addresses.zmq, **options))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def peer(server: RunningServer, connect: Callable[..., Peer]) -> Peer:
    return connect(server)


@pytest.fixture
def request_of(server: RunningServer) -> Callable[..., Answer]:
    """`request_of(method, path, body, headers, server=…)`: one HTTP request of its own connection."""

    def ask(
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        server: RunningServer = server,
        chunked: bool = False,
    ) -> Answer:
        address = server.addresses.http.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=chunked)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    return ask


@contextlib.contextmanager
def denoising(server: RunningServer, headers: dict[str, str] | None = None) -> Iterator[None]:
    """Meanwhile the server denoises a stack for somebody, who leaves in the end."""
    file = io.BytesIO()
    np.save(file, np.ones((3000, 96, 96), np.uint8))
    connection = http.client.HTTPConnection(server.addresses.http.removeprefix("http://"), timeout=TIMEOUT_S)
    connection.request("POST", "/v1/models/blur/denoise?axes=TYX", file.getvalue(), headers or {})
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while not server.engine.queue_length():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        yield
    finally:
        connection.close()


@pytest.fixture
def denoise_meanwhile() -> Callable[..., Any]:
    """`with denoise_meanwhile(server, headers): …`."""
    return denoising


def counts(shape: tuple[int, ...] = (24, 32), *, seed: int = 0, dtype: str = "uint16") -> Any:
    return np.random.default_rng(seed).poisson(3.0, shape).astype(dtype)


@pytest.fixture
def make_counts() -> Callable[..., Any]:
    """Poisson counts: `make_counts(shape, seed=…, dtype=…)`."""
    return counts
