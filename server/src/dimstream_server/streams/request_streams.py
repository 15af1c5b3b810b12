"""Streams that one request feeds: listed, counted and visible like other streams, but not resumed or
recorded."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from dimstream_client.messages import Frame
from dimstream_server.engine.protocol import Engine, EngineResult, FrameTask, StreamSpec
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.streams.registry import StreamRegistry
from dimstream_server.streams.stream import ServerStream
from dimstream_server.streams.subscribers import Subscribers


class Requests:
    """Opens the streams of requests, and keeps registry, metrics and subscribers up to date.

    All methods except `open` are for the loop's thread.
    """

    def __init__(
        self, engine: Engine, registry: StreamRegistry, metrics: Metrics, subscribers: Subscribers
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._metrics = metrics
        self._subscribers = subscribers

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this loop from now on."""
        self._loop = loop

    def open(self, spec: StreamSpec, *, endpoint: str, client: str, window: int) -> RequestStream:
        """Return a stream for the calling thread.

        Raises
        ------
        ServerError
        """
        stream = ServerStream(
            id=secrets.token_hex(8),
            peer=b"",
            spec=spec,
            window=window,
            thresholds=self._engine.models()[spec.model].thresholds,
            model=spec.model,
            client=client,
            delivers_pixels=spec.deliver_pixels,
            endpoint=endpoint,
            is_request=True,
        )
        return RequestStream(self._engine, stream, self, self._loop.call_soon_threadsafe)

    def opened(self, stream: ServerStream) -> None:
        """Add a stream."""
        self._registry.add(stream)

    def accepted(self, stream: ServerStream, frame: Frame, future: Future[EngineResult]) -> None:
        """Record a frame."""
        stream.accept(frame, future)
        self._metrics.streams.requests.received(frame.seq)

    def answered(self, stream: ServerStream, frame: Frame, result: EngineResult) -> None:
        """Count and publish a result, which the request already has."""
        stream.handed_over(frame.seq)
        stream.counts = result.counts or stream.counts
        self._metrics.answered(stream.endpoint, result)
        self._metrics.streams.requests.answered(result)
        self._subscribers.publish(stream.id, frame, result, source=stream)

    def ended(self, stream: ServerStream) -> None:
        """Remove a stream."""
        self._registry.remove(stream)
        self._subscribers.end(stream.id)


class RequestStream:
    """A stream for a thread that may wait; a context manager that ends the stream.

    Its methods are for that thread. Messages for the loop are posted to it without waiting.

    Parameters
    ----------
    stream : ServerStream
        The stream, which only the loop may use from now on.
    post : callable
        Calls a function on the loop, in order.
    """

    def __init__(
        self, engine: Engine, stream: ServerStream, requests: Requests, post: Callable[..., object]
    ) -> None:
        self._engine = engine
        self._stream = stream
        self._requests = requests
        self._post = post
        self._engine_id = engine.open(stream.spec)
        stream.engine_id = self._engine_id
        self._waiting: deque[tuple[Frame, Future[EngineResult]]] = deque()
        post(requests.opened, stream)

    @property
    def id(self) -> str:
        """Id of the stream."""
        return self._stream.id

    def __len__(self) -> int:
        """Number of frames that were submitted and whose results were not taken."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether a result must be taken before the next frame."""
        return len(self._waiting) >= self._stream.window

    def submit(self, frame: Frame) -> None:
        """Submit the next frame; its `index.t` is the time point by which it is judged.

        Raises
        ------
        ServerError
        """
        index = frame.index
        task = FrameTask(frame.seq, frame.pixels, t=index.t, plane=(index.c, index.z, index.p))
        future = self._engine.submit(self._engine_id, task)
        # Its pixels are part of a body, which no watcher may keep in memory. The copy is made while the
        # network runs.
        shown = replace(frame, pixels=frame.pixels.copy())
        self._waiting.append((shown, future))
        self._post(self._requests.accepted, self._stream, shown, future)

    def take(self) -> tuple[Frame, EngineResult]:
        """Wait for the result of the oldest submitted frame; return the frame, with copied pixels, and the
        result."""
        frame, future = self._waiting.popleft()
        result = future.result()
        self._post(self._requests.answered, self._stream, frame, result)
        return frame, result

    def __enter__(self) -> RequestStream:
        return self

    def __exit__(self, *_: object) -> None:
        for _frame, future in self._waiting:
            future.cancel()
        try:
            self._engine.close(self._engine_id)
        finally:
            self._post(self._requests.ended, self._stream)
