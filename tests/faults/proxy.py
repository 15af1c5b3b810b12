"""A TCP proxy that can be cut, fall silent, delay, and be slow."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

_CHUNK = 4096


class Proxy:
    """Stands between clients and one server, on a thread of its own.

    Attributes
    ----------
    delay_s : float
        Each way.
    bytes_per_s : float or None
        Each way and connection; None is no limit.
    """

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self._to = port
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()

    @property
    def endpoint(self) -> str:
        """Where clients connect."""
        return f"tcp://127.0.0.1:{self._port}"

    def cut(self) -> None:
        """End all connections and take no others until `mend`."""
        self._refuses = True
        self.reset()

    def reset(self) -> None:
        """End all connections; others may be made."""
        self._call(self._abort)

    def hold(self) -> None:
        """Let nothing through, and tell nobody, until `mend`: a cable that was pulled."""
        self._call(self._flows.clear)

    def mend(self) -> None:
        """Be a good network again."""
        self._refuses = False
        self.delay_s, self.bytes_per_s = 0.0, None
        self._call(self._flows.set)

    def close(self) -> None:
        """End everything."""
        self._call(self._abort)
        self._call(self._loop.stop)
        self._thread.join()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, function: Callable[[], Any]) -> None:
        self._loop.call_soon_threadsafe(function)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._joined, "127.0.0.1", 0))
        self._port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _abort(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        if self._refuses:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        for each in (writer, back):
            self._writers.discard(each)
            each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(4096)
        delivering = asyncio.ensure_future(self._deliver(under_way, writer))
        try:
            while data := await reader.read(_CHUNK):
                await under_way.put((self._loop.time() + self.delay_s, data))
            raise ConnectionResetError
        finally:
            delivering.cancel()

    async def _deliver(
        self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - self._loop.time())
            await self._flows.wait()
            writer.write(data)
            with contextlib.suppress(OSError):
                await writer.drain()
            if self.bytes_per_s is not None:
                await asyncio.sleep(len(data) / self.bytes_per_s)
