"""Streams that one request feeds: listed, counted and seen like any other; not resumed, not recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from dimstream_client.messages import Frame
from dimstream_server.engine.protocol import Engine, EngineResult, FrameTask
from dimstream_server.streams.stream import ServerStream


class RequestLog(Protocol):
    """What is done about a request's stream on the event loop, in this order."""

    def request_opened(self, stream: ServerStream) -> None:
        """The engine has taken it."""

    def request_accepted(self, stream: ServerStream, frame: Frame, future: Future[EngineResult]) -> None:
        """The engine has taken a frame."""

    def request_answered(self, stream: ServerStream, frame: Frame, result: EngineResult) -> None:
        """A result was handed over."""

    def request_ended(self, stream: ServerStream) -> None:
        """Nothing more will come of it."""


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
        self, engine: Engine, stream: ServerStream, log: RequestLog, post: Callable[..., object]
    ) -> None:
        self._engine = engine
        self._stream = stream
        self._log = log
        self._post = post
        self._engine_id = engine.open(stream.spec)
        stream.engine_id = self._engine_id
        self._waiting: deque[tuple[Frame, Future[EngineResult]]] = deque()
        post(log.request_opened, stream)

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
        self._waiting.append((frame, future))
        self._post(self._log.request_accepted, self._stream, frame, future)

    def take(self) -> tuple[Frame, EngineResult]:
        """The oldest frame that was submitted, and its result; waits for it."""
        frame, future = self._waiting.popleft()
        result = future.result()
        self._post(self._log.request_answered, self._stream, frame, result)
        return frame, result

    def __enter__(self) -> RequestStream:
        return self

    def __exit__(self, *_: object) -> None:
        for _frame, future in self._waiting:
            future.cancel()
        try:
            self._engine.close(self._engine_id)
        finally:
            self._post(self._log.request_ended, self._stream)
