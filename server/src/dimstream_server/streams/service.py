"""The streams of a server, whatever their endpoint: admission, credit, journal, recording, metrics.

Endpoints only translate. They find a stream here, submit what arrives for it, and send what their `Channel`
gets. Everything is for the event loop's thread, unless stated otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from dimstream_client.messages import Ack, Close, Credit, Frame, Open, Opened, Skip, Update
from dimstream_server.engine.protocol import Engine, InForce, StreamSpec
from dimstream_server.errors import Draining, ServerError, UnknownStream
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.recording import Recorder, Recording
from dimstream_server.settings import Settings
from dimstream_server.streams.closing import Closing
from dimstream_server.streams.flag_events import FlagEvents
from dimstream_server.streams.journal_thread import JournalThread
from dimstream_server.streams.leases import Leases
from dimstream_server.streams.model_loading import ModelLoading
from dimstream_server.streams.opening import Requester, StreamOpener
from dimstream_server.streams.registry import StreamRegistry
from dimstream_server.streams.request_rate import RateLimit
from dimstream_server.streams.request_streams import Requests, RequestStream
from dimstream_server.streams.result_delivery import Answering
from dimstream_server.streams.resuming import keep_end
from dimstream_server.streams.stream import ServerStream
from dimstream_server.streams.stream_recording import StreamRecordings
from dimstream_server.streams.subscribers import DEFAULT_CAPACITY, Subscribers, Subscription
from dimstream_server.streams.updating import Updating

_log = logging.getLogger(__name__)


class StreamService:
    """Opens, resumes, feeds, watches and closes streams.

    Parameters
    ----------
    boot_id : str
        Changes with every start of the server, so that a client can detect a restart.
    recorder : Recorder or None
        None: this server does not record.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        metrics: Metrics,
        journal: JournalThread,
        *,
        boot_id: str,
        recorder: Recorder | None = None,
    ) -> None:
        self.boot_id = boot_id
        self._engine = engine
        self._metrics = metrics
        self._journal = journal
        self._rate = RateLimit(settings.limits.max_requests_per_s_per_client)
        self._recordings = StreamRecordings(recorder, settings.recording)
        self._registry = StreamRegistry.of(settings)
        self.models = ModelLoading(
            *(engine, journal, settings),
            is_open=lambda stream_id: self._registry.of_id(stream_id) is not None,
            refuse_when_draining=self.refuse_when_draining,
        )
        """Loading and unloading of models, for operators."""
        self._opener = StreamOpener(
            *(engine, self._registry, journal, self._recordings, settings),
            boot_id=boot_id,
            default_model=self.models.default,
            release=self.release,
        )
        self._subscribers = Subscribers()
        self._flags = FlagEvents(metrics, self._subscribers, suspect_after=settings.server.suspect_after)
        self._requests = Requests(engine, self._registry, metrics, self._subscribers)
        self._leases = Leases(
            journal,
            in_use=self._opener.in_use,
            lease_s=settings.zmq.lease_s,
            most=settings.limits.max_kept_streams,
            ended=self._lease_ended,
        )
        self._closing = Closing(
            engine, self._recordings, self._in_order, ended=self._ended, failed=self.release
        )
        self._updating = Updating(engine, journal, self._recordings)
        self._answering = Answering(
            *(engine, self._registry, journal, self._recordings, metrics, self._subscribers, self._flags),
            release=self.release,
        )
        self._draining = False
        self._unanswered = 0  # OPENs and SKIPs
        metrics.watch("dimstream_streams_open", "Streams that are open.", lambda: len(self._registry))

    # --- its life

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this loop from now on; called in its thread."""
        self._answering.start(loop)
        self._journal.start(loop)
        self._requests.start(loop)
        self._leases.start(loop)

    def begin_drain(self) -> None:
        """Accept no more streams and frames; accepted ones are still answered."""
        self._draining = True

    @property
    def is_drained(self) -> bool:
        """Whether every accepted frame, OPEN, UPDATE and CLOSE was answered; requests handle their own."""
        return not (
            self._registry.in_flight() or self._unanswered or self._updating.pending or self._closing.pending
        )

    async def stop(self) -> None:
        """Release all resources; nothing may be called afterwards."""
        self._leases.stop()
        self._subscribers.close()
        await self._recordings.close()

    def refuse_when_draining(self) -> None:
        """Raise Draining if nothing more is accepted."""
        if self._draining:
            raise Draining("the server is shutting down and accepts nothing new; try again when it is back")

    # --- which streams there are

    def streams(self) -> list[ServerStream]:
        """The open streams."""
        return list(self._registry)

    def recording_of(self, stream: ServerStream) -> Recording | None:
        """Return the recording of a stream; None if it is not recorded, or its files are not open yet."""
        one = self._recordings.of(stream.id)
        return None if one is None else one.recording

    def is_suspect(self, stream: ServerStream) -> bool:
        """Whether a stream is suspect now."""
        return self._flags.is_suspect(stream.id)

    def streams_of(self, peer: bytes) -> list[ServerStream]:
        """Return the open streams of one connection."""
        return self._registry.of_peer(peer)

    def find(self, peer: bytes, stream_id: str, *, owner: str = "") -> ServerStream:
        """Return the stream with this id, if this connection opened it with this key.

        Raises
        ------
        UnknownStream
        """
        return self._registry.find(peer, stream_id, owner=owner)

    def next_seq_of(self, peer: bytes, stream_id: str) -> int | None:
        """Return the next frame that a stream of this connection expects; None if there is no such stream."""
        stream = self._registry.get(peer, stream_id)
        return None if stream is None else stream.next_seq

    def payload_bytes(self, peer: bytes) -> int:
        """Return the largest size of the pixels of a frame of this connection, bytes; 0 while it has no
        stream."""
        return self._registry.payload_bytes(peer)

    def queue_length(self) -> int:
        """Number of frames of all streams that the engine has not answered."""
        return self._engine.queue_length()

    def subscribe(self, stream_id: str | None, *, capacity: int = DEFAULT_CAPACITY) -> Subscription:
        """Return a subscription to one stream, or to all; close it when it is no longer read.

        Raises
        ------
        UnknownStream
            When there is no such stream, neither open nor resumable.
        """
        if stream_id is not None and not self.exists(stream_id):
            raise UnknownStream(f"expected an open stream, or None for all, got {stream_id!r}")
        return self._subscribers.add(stream_id, capacity)

    def exists(self, stream_id: str) -> bool:
        """Whether a stream is open, or can be resumed."""
        return self._registry.of_id(stream_id) is not None or self._journal.keeps(stream_id)

    # --- from the endpoints

    async def open(self, requester: Requester, message: Open) -> tuple[ServerStream, Opened]:
        """Open a stream, or resume the one that OPEN names, whose present connection then loses it.

        Raises
        ------
        ServerError
        """
        self._rate.take(requester.client)
        self.refuse_when_draining()
        self._recordings.refuse_unless_recording(message)
        self._unanswered += 1
        try:
            opening = await self._opener.begin(requester, message)
            opened = await self._opener.finish(opening)
        finally:
            self._unanswered -= 1
        stream = opening.stream
        figures = self._metrics.streams.open(stream.id, stream.client, lambda: stream.in_flight)
        if opening.resumed:
            figures.reconnected()
        return stream, opened

    def open_request(self, spec: StreamSpec, *, endpoint: str, client: str, window: int) -> RequestStream:
        """Return a stream for one request, which feeds it from the calling thread.

        Raises
        ------
        ServerError
        """
        return self._requests.open(spec, endpoint=endpoint, client=client, window=window)

    def check(self, stream: ServerStream, seq: int, shape: tuple[int, ...], dtype: str) -> None:
        """Refuse a frame by its header, before its pixels are read.

        Raises
        ------
        ServerError
        """
        self.refuse_when_draining()
        stream.check(seq, shape, dtype)

    def submit(self, stream: ServerStream, frame: Frame) -> None:
        """Accept the next frame; its result goes to the stream's channel.

        Raises
        ------
        ServerError
            When it was not accepted.
        """
        self.refuse_when_draining()
        task = stream.task(frame)
        figures = self._metrics.streams.of(stream.id)
        if frame.seq in stream.references:
            self._engine.restore_reference(stream.engine_id, task)
            del stream.references[frame.seq]
            figures.resent()
            return
        future = self._engine.submit(stream.engine_id, task)
        stream.accept(frame, future)
        stream.submitted[frame.seq] = frame, task
        figures.received(frame.seq)
        future.add_done_callback(partial(self._answering.from_engine, stream, frame.seq, stream.indexed))

    async def skip(self, stream: ServerStream, skip: Skip) -> Credit:
        """Record that frames will never arrive; return the new credit after this is in the journal.

        Until then, the stream's next message must wait.

        Raises
        ------
        ServerError
        """
        self.refuse_when_draining()
        stream.check_skip(skip)
        self._engine.skip(stream.engine_id, skip.seq_from, skip.seq_to)
        self._recordings.skipped(stream.id, skip.seq_from, skip.seq_to, skip.reason)
        self._metrics.streams.of(stream.id).skipped(skip.seq_to - skip.seq_from + 1)
        self._unanswered += 1
        try:
            await self._journal.ask(lambda journal: journal.skipped(stream.id, skip.seq_from, skip.seq_to))
        finally:
            self._unanswered -= 1
        return stream.skipped(skip.seq_to)

    async def acknowledge(self, stream: ServerStream, ack: Ack) -> None:
        """Delete everything that is needed only for results that the client has stored safely.

        Until that is done, the stream's next message must wait.

        Raises
        ------
        RequestRefused
        """
        stream.acknowledge(ack)
        await self._journal.ask(lambda journal: journal.acknowledged(stream.id, ack.next_result))

    def update(self, stream: ServerStream, update: Update) -> None:
        """Change model or thresholds from a frame on; the channel gets UPDATED, or the error.

        Raises
        ------
        ServerError
        """
        self.refuse_when_draining()
        self._updating.update(stream, update)

    def close(self, stream: ServerStream, message: Close) -> None:
        """Accept no more frames; the channel gets CLOSED after all were answered and the files are final.

        Raises
        ------
        RequestRefused
        """
        if stream.close(message):
            self._closing.begin(stream)

    def delivered(self, stream: ServerStream, seq: int) -> None:
        """Record that a result was delivered, which frees credit."""
        stream.handed_over(seq)

    def undeliverable(self, stream: ServerStream, seq: int) -> None:
        """Record that a result can never be delivered."""
        self._metrics.undeliverable.inc()
        stream.handed_over(seq)
        self.release(stream, "a result could not be delivered")

    def forget(self, stream: ServerStream) -> None:
        """Remove a stream whose CLOSED was sent, or can never be sent."""
        self._registry.remove(stream)

    def release_peer(self, peer: bytes, why: str) -> None:
        """Release the streams of a connection that has ended; streams that it has closed end normally."""
        for stream in self._registry.of_peer(peer):
            if not stream.closing:
                self.release(stream, why)

    def release(self, stream: ServerStream, why: str) -> None:
        """Release a stream from its connection; it can be resumed within its lease."""
        if stream not in self._registry:
            return
        self._registry.remove(stream)
        self._metrics.streams.close(stream.id)
        _log.warning(
            "the peer has disconnected event=peer_gone endpoint=%s stream=%s client=%r next_seq=%d reason=%r",
            *(stream.endpoint, stream.id, stream.client, stream.next_seq, why),
        )
        stream.break_off()
        if (recording := self._recordings.of(stream.id)) is not None:
            recording.break_off()
        if not stream.closing:
            with contextlib.suppress(ServerError):  # a stopped engine has already closed it
                self._engine.close(stream.engine_id)

    # --- from operators

    async def change(
        self, stream_id: str, model: str | None, thresholds: Mapping[str, float] | None, *, by: str
    ) -> InForce:
        """Change model or thresholds of a stream, from its next frame on.

        Raises
        ------
        ServerError
        """
        self.refuse_when_draining()
        stream = self._registry.of_id(stream_id)
        if stream is None or stream.is_request:
            raise UnknownStream(
                f"expected the id of an open stream from GET /v1/streams, got {stream_id[:100]!r}"
            )
        return await self._updating.change(stream, model, thresholds, by=by)

    # --- from the engine and the recorder

    def _in_order(self, then: Callable[[Any], None], future: Future[Any]) -> None:
        """Call `then` on the loop, after all earlier jobs of the journal."""
        self._journal.put(None, lambda _: then(future))

    def _ended(self, stream: ServerStream, tell: Callable[[], None]) -> None:
        def then(_: object) -> None:
            if stream in self._registry:  # otherwise it may have been resumed meanwhile
                self._metrics.streams.close(stream.id)
                self._subscribers.end(stream.id)
                self._flags.forget(stream.id)
            tell()

        self._journal.put(partial(keep_end, stream), then, then)

    def _lease_ended(self, stream_id: str) -> None:
        _log.warning("stream deleted event=lease_ended stream=%s", stream_id)
        self._recordings.finish(stream_id)
        self._subscribers.end(stream_id)
        self._flags.forget(stream_id)
