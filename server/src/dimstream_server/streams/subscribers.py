"""Subscribers who watch streams without being their client: each has a bounded queue, in which the newest
wins.

Everything is for the event loop. A subscriber that is slow, or reads nothing, loses frames. It delays neither
the stream nor other subscribers, and never holds more than its queue.
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
    """A frame that the engine has answered. After a resumption, a frame may be repeated.

    Parameters
    ----------
    stream : str
        Id of its stream.
    frame : Frame
        The frame as received; `frame.pixels` (H, W) are the values of the detector. It is shared, so do not
        change it.
    result : EngineResult
        It has pixels if the stream's client requests them, or the stream is recorded.
    source : ServerStream or None
        Its stream, which must only be read.
    """

    stream: str
    frame: Frame
    result: EngineResult
    source: ServerStream | None = None


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """A stream has ended: it was closed, or not resumed within its lease."""

    stream: str


Seen = SeenFrame | FlagChange | StreamEnded


class Subscription:
    """Unread items of one subscriber, oldest first; a context manager that ends the subscription.

    Parameters
    ----------
    stream : str or None
        The stream to watch; None: all.
    capacity : int
        Most frames in the queue.
    leave : callable
        Called once with the subscription, when it ends.
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
        """Wait for the oldest unread item; stops at the end of the stream, or of the subscription."""
        while not self._queue:
            if self._is_over:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return self._queue.popleft()

    def take(self) -> Seen | None:
        """Return the oldest unread item; None if there is none now."""
        return self._queue.popleft() if self._queue else None

    @property
    def is_over(self) -> bool:
        """Whether there will be no more items than those in the queue."""
        return self._is_over

    def close(self) -> None:
        """End the subscription, and drop its queue."""
        self._queue.clear()
        self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, seen: Seen) -> None:
        """Add an item; if the queue is full, it replaces the oldest frame."""
        if len(self._queue) >= self._capacity:
            self._drop_oldest()
        self._queue.append(seen)
        self._changed.set()

    def end(self) -> None:
        """Record that the watched stream has ended."""
        self._stop()

    def _drop_oldest(self) -> None:
        """Drop the oldest frame; ends are kept, because a subscriber without one would wait forever."""
        frame = next((seen for seen in self._queue if isinstance(seen, SeenFrame)), self._queue[0])
        self._queue.remove(frame)
        self.dropped += 1

    def _stop(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._changed.set()
            self._leave(self)


class Subscribers:
    """All subscriptions, by watched stream."""

    def __init__(self) -> None:
        self._by_stream: dict[str | None, list[Subscription]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_stream.values()))

    def add(self, stream: str | None, capacity: int) -> Subscription:
        """Return a subscription to a stream, or to all."""
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
        """Send a frame to the subscribers of its stream.

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
        """Report to a stream's subscribers that it has become suspect, or good again."""
        for subscription in self._watching(change.stream):
            subscription.put(change)

    def end(self, stream: str) -> None:
        """Record that a stream has ended."""
        for subscription in tuple(self._by_stream.get(stream, ())):
            subscription.end()
        for subscription in self._by_stream.get(None, ()):
            subscription.put(StreamEnded(stream))

    def close(self) -> None:
        """End all subscriptions; their queues can still be read."""
        for subscription in [one for group in self._by_stream.values() for one in group]:
            subscription.end()

    def _watching(self, stream: str) -> list[Subscription]:
        return [*self._by_stream.get(stream, ()), *self._by_stream.get(None, ())]

    def _leave(self, subscription: Subscription) -> None:
        group = self._by_stream[subscription.stream]
        group.remove(subscription)
        if not group:
            del self._by_stream[subscription.stream]
