"""Streams that one request feeds: listed, counted and seen like any other; not resumed, not recorded."""

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
    """Opens the streams of requests, and keeps them in the registry, the figures and before who watches.

    All but `open` belongs to the loop's thread.
    """

    def __init__(
        self, engine: Engine, registry: StreamRegistry, metrics: Metrics, subscribers: Subscribers
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._metrics = metrics
        self._subscribers = subscribers

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have all of it on this loop from now on."""
        self._loop = loop

    def open(self, spec: StreamSpec, *, endpoint: str, client: str, window: int) -> RequestStream:
        """A stream of the thread that calls this.

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
        """Enter a stream."""
        self._registry.add(stream)

    def accepted(self, stream: ServerStream, frame: Frame, future: Future[EngineResult]) -> None:
        """Take note of a frame."""
        stream.accept(frame, future)
        self._metrics.streams.requests.received(frame.seq)

    def answered(self, stream: ServerStream, frame: Frame, result: EngineResult) -> None:
        """Count and show a result, which the request has already."""
        stream.handed_over(frame.seq)
        stream.counts = result.counts or stream.counts
        self._metrics.answered(stream.endpoint, result)
        self._metrics.streams.requests.answered(result)
        self._subscribers.publish(stream.id, frame, result, source=stream)

    def ended(self, stream: ServerStream) -> None:
        """Take a stream out."""
        self._registry.remove(stream)
        self._subscribers.end(stream.id)


class RequestStream:
    """A stream of a thread that may wait; a context manager that ends it.

    Its methods belong to that thread. What the loop has to know is posted to it, and never waited for.

    Parameters
    ----------
    stream : ServerStream
        The loop's, from now on.
    post : callable
        Has a function called on the loop, in order.
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
        """Of the stream."""
        return self._stream.id

    def __len__(self) -> int:
        """Frames that were submitted and not taken back."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether a result has to be taken before the next frame."""
        return len(self._waiting) >= self._stream.window

    def submit(self, frame: Frame) -> None:
        """Hand over the next frame; its `index.t` is the time point that it is judged by.

        Raises
        ------
        ServerError
        """
        index = frame.index
        task = FrameTask(frame.seq, frame.pixels, t=index.t, plane=(index.c, index.z, index.p))
        future = self._engine.submit(self._engine_id, task)
        # Its pixels are part of a body, which no watcher may keep in memory; the network runs meanwhile.
        shown = replace(frame, pixels=frame.pixels.copy())
        self._waiting.append((shown, future))
        self._post(self._requests.accepted, self._stream, shown, future)

    def take(self) -> tuple[Frame, EngineResult]:
        """The oldest frame that was submitted, its pixels a copy, and its result; waits for it."""
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
