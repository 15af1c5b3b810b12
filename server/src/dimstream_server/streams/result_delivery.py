"""The steps of a result from the engine: journal, recording, sending, metrics, subscribers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from dimstream_client.messages import Frame
from dimstream_server.engine.protocol import Engine, EngineResult, FrameTask
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.streams.flag_events import FlagEvents
from dimstream_server.streams.journal_thread import JournalThread
from dimstream_server.streams.registry import StreamRegistry
from dimstream_server.streams.resuming import keep_result
from dimstream_server.streams.stream import ServerStream
from dimstream_server.streams.stream_recording import StreamRecordings
from dimstream_server.streams.subscribers import Subscribers

_log = logging.getLogger(__name__)


class Answering:
    """Takes results from the engine to the channels of their streams; on the loop, except `from_engine`.

    Parameters
    ----------
    release : callable
        Releases the connection of a stream, with a reason.
    """

    def __init__(
        self,
        engine: Engine,
        registry: StreamRegistry,
        journal: JournalThread,
        recordings: StreamRecordings,
        metrics: Metrics,
        subscribers: Subscribers,
        flags: FlagEvents,
        *,
        release: Callable[[ServerStream, str], None],
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._journal = journal
        self._recordings = recordings
        self._metrics = metrics
        self._subscribers = subscribers
        self._flags = flags
        self._release = release

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this loop from now on; called in its thread."""
        self._loop = loop

    def from_engine(
        self, stream: ServerStream, seq: int, indexed: bool, future: Future[EngineResult]
    ) -> None:
        """Called in the device thread in the order of frames, which the journal keeps."""
        self._journal.put(
            partial(keep_result, stream, indexed, future),
            lambda _: self._answered(stream, seq, future),
            lambda _: self._release(stream, "the journal lost a frame, which its client still has"),
        )

    def _answered(self, stream: ServerStream, seq: int, future: Future[EngineResult]) -> None:
        """Publish a result after it was written to the journal, and send it after it was recorded."""
        if future.cancelled():
            self._metrics.undeliverable.inc()  # its client has disconnected, and will send it again
            return
        problem = future.exception()
        if (
            problem is not None
        ):  # an engine returns a result even for a failed frame, so the engine itself has failed
            _log.error("no result event=internal_error stream=%s seq=%d", stream.id, seq, exc_info=problem)
            self._release(stream, "the engine lost a frame, which its client still has")
            return
        result = future.result()
        # In the loop's next turn: at the end of this one it writes what is sent here.
        self._loop.call_soon(self._count, stream, result)
        if stream in self._registry:
            self._deliver(stream, result)
        else:
            self._metrics.undeliverable.inc()

    def _count(self, stream: ServerStream, result: EngineResult) -> None:
        self._metrics.answered(stream.endpoint, result)
        self._metrics.streams.of(stream.id).answered(result)

    def _deliver(self, stream: ServerStream, result: EngineResult) -> None:
        frame, task = stream.submitted.pop(result.seq)
        stream.counts = result.counts or stream.counts
        self._loop.call_soon(self._show, stream, frame, task, result)
        recording = self._recordings.of(stream.id)
        if recording is None:
            self._send_result(stream, result)
        else:
            model = self._engine.models()[result.model_id]
            recording.record(frame, task, result, model, partial(self._send_result, stream, result))

    def _show(self, stream: ServerStream, frame: Frame, task: FrameTask, result: EngineResult) -> None:
        self._subscribers.publish(stream.id, frame, result, source=stream)
        self._flags.answered(stream, task, result)

    def _send_result(self, stream: ServerStream, result: EngineResult) -> None:
        if stream.channel is not None:
            stream.channel.result(stream, result)
