"""The service without any endpoint: its streams' answers are kept in a list."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dimstream_client.messages import Closed, Frame, Open, Opened, Result, Updated
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import Engine, EngineResult
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.recording import Recorder, Recording
from dimstream_server.settings import Settings
from dimstream_server.settings_file import make_settings
from dimstream_server.streams import Requester, ServerStream, StreamService
from dimstream_server.streams.journal_thread import JournalThread

SHAPE = (24, 32)


class Answers:
    """A channel that keeps what it is given, and reports at once that it was delivered."""

    endpoint = "test"

    def __init__(self, service: StreamService) -> None:
        self._service = service
        self.results: list[Result] = []
        self.ends: list[Closed] = []
        self.updates: list[Updated] = []
        self.changed = asyncio.Event()

    def result(self, stream: ServerStream, result: EngineResult) -> None:
        self.results.append(stream.result(result))
        self._service.delivered(stream, result.seq)
        self.changed.set()

    def closed(self, stream: ServerStream, message: Closed) -> None:
        self.ends.append(message)
        self._service.forget(stream)
        self.changed.set()

    def updated(self, stream: ServerStream, message: Updated) -> None:
        self.updates.append(message)
        self.changed.set()

    def refused(self, stream: ServerStream, problem: BaseException) -> None:
        raise problem

    def is_absent(self, peer: bytes) -> bool:
        return False

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Bench:
    """A service on the loop of a test, and what a test does with it."""

    def __init__(self, service: StreamService, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self.service, self.engine, self.settings, self.metrics = service, engine, settings, metrics
        self.answers = Answers(service)

    async def open(self, peer: bytes = b"peer", **fields: Any) -> tuple[ServerStream, Opened]:
        message = Open(**{"client": "c", "shape": SHAPE, "dtype": "uint16", **fields})
        return await self.service.open(Requester(peer, "", self.answers), message)

    def send(self, stream: ServerStream, seq: int) -> Frame:
        frame = Frame(stream.id, seq, pixels_of(seq))
        self.service.submit(stream, frame)
        return frame

    async def denoise(self, stream: ServerStream, count: int, first: int = 0) -> None:
        """Send frames one after the other, each when the one before has its result."""
        for seq in range(first, first + count):
            had = len(self.answers.results)
            self.send(stream, seq)
            await self.answers.until(lambda had=had: len(self.answers.results) > had)  # type: ignore[misc]


def pixels_of(seq: int) -> Any:
    return np.random.default_rng(seq).poisson(9, SHAPE).astype(np.uint16)


class HeldRecorder(Recorder):
    """A recorder on a disk that answers when a test lets it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, most_queued_bytes=2**20, reserve_bytes=0, warn_bytes=0)
        self.disk_answers = threading.Event()
        self.asked: list[tuple[str, str]] = []  # stream and thread, in order

    def begin(self, spec: Any, **options: Any) -> Recording:
        self.asked.append((spec.stream, threading.current_thread().name))
        assert self.disk_answers.wait(60)
        return super().begin(spec, **options)

    def resume(self, spec: Any, **options: Any) -> Recording:
        self.asked.append((spec.stream, threading.current_thread().name))
        assert self.disk_answers.wait(60)
        return super().resume(spec, **options)


@pytest.fixture
def run_service(tiny_bundle: Any) -> Callable[..., None]:
    """`run_service(test, recorder=…, zmq={…})`: run an asynchronous test with a service of its own."""

    def run(
        test: Callable[[Bench], Awaitable[None]], *, recorder: Recorder | None = None, **tables: Any
    ) -> None:
        settings = make_settings(tables, source="test")
        engine = LocalEngine([tiny_bundle("blur")], threads=1)

        @asynccontextmanager
        async def running() -> AsyncIterator[Bench]:
            metrics = Metrics()
            service = StreamService(
                engine, settings, metrics, JournalThread(None), boot_id="boot", recorder=recorder
            )
            service.start(asyncio.get_running_loop())
            try:
                yield Bench(service, engine, settings, metrics)
            finally:
                await asyncio.wrap_future(engine.drain())
                await service.stop()
                if recorder is not None:
                    recorder.close()

        async def main() -> None:
            async with asyncio.timeout(60), running() as bench:
                await test(bench)

        asyncio.run(main())

    return run


@pytest.fixture
def held_recorder(tmp_path: Path) -> HeldRecorder:
    return HeldRecorder(tmp_path / "recordings")
