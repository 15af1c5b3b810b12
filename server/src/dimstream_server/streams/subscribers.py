"""Who watches streams without being their client: a bounded queue each, in which the newest wins.

All of it belongs to the event loop. A watcher that is slow, or reads nothing, loses frames of its own; it
holds up neither the stream nor any other watcher, and never holds more than its queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from dimstream_client.messages import Frame
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.streams.flag_watch import FlagChange
from dimstream_server.streams.stream import ServerStream

DEFAULT_CAPACITY: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class SeenFrame:
    """A frame that the engine has answered. A resumed stream may show one again.

    Parameters
    ----------
    stream : str
        Id of its stream.
    frame : Frame
        As it came; `frame.pixels` is (H, W), the values of the detector. It is shared: do not change it.
    result : EngineResult
        Its pixels are there if the stream's client wants them, or the stream is recorded.
    source : ServerStream or None
        Its stream, to be read only.
    """

    stream: str
    frame: Frame
    result: EngineResult
    source: ServerStream | None = None


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """A stream is over: it was closed, or nobody has resumed it within its lease."""

    stream: str


Seen = SeenFrame | FlagChange | StreamEnded


class Subscription:
    """What one watcher has not read yet, oldest first; a context manager that ends it.

    Parameters
    ----------
    stream : str or None
        The stream that is watched; None: all.
    capacity : int
        Most frames that it holds.
    leave : callable
        Called with it once, when it is ended.
    """

    def __init__(self, stream: str | None, capacity: int, leave: Callable[[Subscription], None]) -> None:
        if capacity < 1:
            raise ValueError(f"expected a capacity of at least 1 frame, got {capacity}")
        self.stream = stream
        self.dropped = 0
        self._capacity = capacity
        self._leave = leave
        self._queue: deque[Seen] = deque()
        self._changed = asyncio.Event()
        self._is_over = False

    def __len__(self) -> int:
        return len(self._queue)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Seen:
        """The oldest that was not read; waits for one. Stops at the end of the stream, or of this."""
        while not self._queue:
            if self._is_over:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._queue.popleft()

    def take(self) -> Seen | None:
        """The oldest that was not read; None when there is none now."""
        return self._queue.popleft() if self._queue else None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come than what is held."""
        return self._is_over

    def close(self) -> None:
        """Watch no more, and let go of what is held."""
        self._queue.clear()
        self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, seen: Seen) -> None:
        """Add what was seen, in place of the oldest frame when it is full."""
        if len(self._queue) >= self._capacity:
            self._drop_oldest()
        self._queue.append(seen)
        self._changed.set()

    def end(self) -> None:
        """Take note that the one stream that is watched is over."""
        self._stop()

    def _drop_oldest(self) -> None:
        """Frames first: who misses an end would wait for that stream for ever."""
        frame = next((seen for seen in self._queue if isinstance(seen, SeenFrame)), self._queue[0])
        self._queue.remove(frame)
        self.dropped += 1

    def _stop(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._changed.set()
            self._leave(self)


class Subscribers:
    """All subscriptions, by the stream that they watch."""

    def __init__(self) -> None:
        self._by_stream: dict[str | None, list[Subscription]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_stream.values()))

    def add(self, stream: str | None, capacity: int) -> Subscription:
        """A subscription to a stream, or to all."""
        subscription = Subscription(stream, capacity, self._leave)
        self._by_stream.setdefault(stream, []).append(subscription)
        return subscription

    def publish(
        self,
        stream: str,
        frame: Frame,
        result: EngineResult,
        *,
        source: ServerStream | None = None,
    ) -> None:
        """Show a frame to whoever watches its stream.

        Parameters
        ----------
        source : ServerStream, optional
            Its stream.
        """
        watching = self._watching(stream)
        if watching:
            seen = SeenFrame(stream, frame, result, source)
            for subscription in watching:
                subscription.put(seen)

    def announce(self, change: FlagChange) -> None:
        """Report that a stream has turned suspect, or has come back, to whoever watches it."""
        for subscription in self._watching(change.stream):
            subscription.put(change)

    def end(self, stream: str) -> None:
        """Take note that a stream is over."""
        for subscription in tuple(self._by_stream.get(stream, ())):
            subscription.end()
        for subscription in self._by_stream.get(None, ()):
            subscription.put(StreamEnded(stream))

    def close(self) -> None:
        """End all subscriptions; what they hold can still be read."""
        for subscription in [one for group in self._by_stream.values() for one in group]:
            subscription.end()

    def _watching(self, stream: str) -> list[Subscription]:
        return [*self._by_stream.get(stream, ()), *self._by_stream.get(None, ())]

    def _leave(self, subscription: Subscription) -> None:
        group = self._by_stream[subscription.stream]
        group.remove(subscription)
        if not group:
            del self._by_stream[subscription.stream]
