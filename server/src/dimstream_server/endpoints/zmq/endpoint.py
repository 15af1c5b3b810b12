"""The streaming door: DIM1 messages from any number of peers in, the engine's answers out.

What a stream may do is `streams`' to say, how bytes travel is `router`'s; this joins them to the engine.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from dimstream_client.errors import ProtocolError
from dimstream_client.messages import (
    Ack,
    Close,
    Closed,
    Frame,
    Message,
    Open,
    Opened,
    Ping,
    Pong,
    Skip,
    Update,
)
from dimstream_client.wire import MAX_HEADER_BYTES, PackedFrame, decode_packed, encode
from dimstream_server.access import Access, warn_of_open_doors
from dimstream_server.endpoints.refusal_log import RefusalLog
from dimstream_server.endpoints.zmq.admission import NOT_ADMITTED, Admission, Handshakes
from dimstream_server.endpoints.zmq.outgoing import Outgoing, Part
from dimstream_server.endpoints.zmq.router import CannotBind, Router
from dimstream_server.engine.memory import Counts
from dimstream_server.engine.protocol import Engine, EngineResult, InForce
from dimstream_server.errors import Draining, RecordingFailed, ServerError, TooManyStreams
from dimstream_server.metrics import Metrics
from dimstream_server.problems import RequestRefused, error_message, problem_of
from dimstream_server.recording import RecordedFile, Recorder
from dimstream_server.settings import Settings
from dimstream_server.stream_metrics import StreamMetrics
from dimstream_server.streams.journal import Journal
from dimstream_server.streams.opening import Asker, StreamOpener
from dimstream_server.streams.rate_limit import RateLimit
from dimstream_server.streams.registry import StreamRegistry
from dimstream_server.streams.resuming import entry_of
from dimstream_server.streams.stream import ServerStream
from dimstream_server.streams.stream_recording import StreamRecordings

DOOR = "zmq"
SWEEP_S = 30.0  # how often leases are looked at
UNPACKERS = 2  # threads
UNPACK_HERE_BYTES = 65_536  # what is checked or unpacked on the event loop, at most
_log = logging.getLogger(__name__)


def bind_router(settings: Settings, access: Access, metrics: Metrics) -> tuple[Router, str]:
    """A socket that suits these settings, and the endpoint that was bound, with the port that was picked.

    Raises
    ------
    CannotBind
    """
    router = Router(
        # Twice the limit, so that a frame somewhat too large is told so instead of cut off.
        max_message_bytes=2 * settings.limits.max_frame_bytes + MAX_HEADER_BYTES,
        max_connections=settings.zmq.max_connections,
        silence_s=settings.zmq.silence_s,
        secret_key=access.secret_key,
        admits=None if access.clients is None else Handshakes(access.clients, metrics).admits,
    )
    try:
        return router, router.bind(settings.zmq.endpoint)
    except CannotBind:
        router.close()
        raise


class ZmqEndpoint:
    """Takes DIM1 messages and answers them.

    Parameters
    ----------
    router : Router
        Bound, not started.
    access : Access
        Who is dealt with; the router was bound with the same.
    boot_id : str
        Changes with every start of the server, so that a client can tell.
    """

    def __init__(
        self,
        engine: Engine,
        router: Router,
        settings: Settings,
        metrics: Metrics,
        journal: Journal,
        *,
        access: Access,
        boot_id: str,
        recorder: Recorder | None = None,
    ) -> None:
        self._settings = settings
        self._admission = Admission(access)
        self._refusals = RefusalLog(DOOR)
        self._pace = RateLimit(settings.limits.max_requests_per_s_per_client)
        self._client_key = ""  # of the peer whose message is being handled
        self._engine = engine
        self._metrics = metrics
        self._boot_id = boot_id
        self._journal = journal
        self._tapes = StreamRecordings(recorder, settings.recording)
        self._lease_s = settings.zmq.lease_s
        self._sweep_s = min(SWEEP_S, self._lease_s / 2)
        self._max_kept_streams = settings.limits.max_kept_streams
        self._max_frame_bytes = settings.limits.max_frame_bytes
        self._book = StreamRegistry(
            max_streams=settings.limits.max_streams,
            default_window=settings.zmq.window,
            max_window=settings.zmq.max_window,
            max_credit=settings.limits.max_credit,
            max_credit_bytes=settings.limits.max_credit_bytes,
            max_streams_per_client=settings.limits.max_streams_per_client,
            max_credit_per_client=settings.limits.max_credit_per_client,
        )
        self._opener = StreamOpener(engine, self._book, journal, self._tapes, settings, boot_id=boot_id)
        self._router = router
        self._draining = False
        self._unanswered = 0  # UPDATEs, CLOSEs, and frames that are being unpacked
        self._unpackers = ThreadPoolExecutor(UNPACKERS, thread_name_prefix="dimstream-unpack")
        self._handlers: Mapping[type[Any], Callable[[bytes, Any], None]] = {
            Open: self._open,
            Frame: self._frame,
            Skip: self._skip,
            Ack: self._ack,
            Update: self._update,
            Close: self._close,
            Ping: self._ping,
        }
        metrics.watch("dimstream_streams_open", "ZeroMQ streams that are open.", lambda: len(self._book))

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve from now on, on this loop and from its thread."""
        self._loop = loop
        self._router.start(loop, self._handle, self._let_go, self._book.payload_bytes)
        self._looked_at = loop.time()
        self._sweep = loop.call_later(self._sweep_s, self._pass_time)

    def streams(self) -> list[ServerStream]:
        """Streams that are open."""
        return list(self._book)

    def begin_drain(self) -> None:
        """Take no more streams and frames; what was accepted is still answered."""
        self._draining = True

    @property
    def is_drained(self) -> bool:
        """Whether every accepted frame, UPDATE and CLOSE was answered."""
        return not self._book.in_flight() and not self._unanswered and self._router.is_idle

    async def close(self, *, flush_s: float) -> None:
        """Close once everything that was sent has gone out, or after `flush_s` seconds."""
        self._sweep.cancel()
        self._router.stop()
        await self._router.flush(flush_s)
        self._router.close()
        self._unpackers.shutdown(wait=False, cancel_futures=True)

    # --- from the peers

    def _handle(self, peer: bytes, parts: list[Part], client_key: str = "") -> asyncio.Future[None] | None:
        """Deal with a message; with a future, its peer's next one has to wait for that."""
        self._client_key = client_key
        unwanted = self._admission.refusal(peer, client_key)
        if unwanted is not None:
            self._expel(peer, unwanted)
            return None
        try:
            message = decode_packed(parts, max_payload_bytes=self._max_frame_bytes)
        except ProtocolError as error:
            self._refuse(peer, error.code, error.detail, error.stream, error.seq, error.expected)
            return None
        if isinstance(message, PackedFrame) and message.work_bytes > UNPACK_HERE_BYTES:
            if self._is_refused(peer, message, self._check_frame):
                return None
            return self._loop.create_task(self._unpack_aside(peer, client_key, message))
        self._is_refused(peer, message, self._dispatch)
        return None

    async def _unpack_aside(self, peer: bytes, client_key: str, packed: PackedFrame) -> None:
        """Unpack a frame that is wanted on another thread, then deal with it."""
        self._unanswered += 1
        work = partial(packed.unpack, max_bytes=self._max_frame_bytes)
        unpacked = self._loop.run_in_executor(self._unpackers, work)
        try:
            await asyncio.wait([unpacked])
        finally:
            self._unanswered -= 1
        self._client_key = client_key
        self._is_refused(peer, packed, lambda *_: self._frame(peer, unpacked.result()))

    def _dispatch(self, peer: bytes, message: Message | PackedFrame) -> None:
        if isinstance(message, PackedFrame):
            self._check_frame(peer, message)
            message = message.unpack(max_bytes=self._max_frame_bytes)
        handler = self._handlers.get(type(message))
        if handler is None:
            raise RequestRefused("unknown_type", f"{message.TYPE} is the server's to send")
        handler(peer, message)

    def _is_refused(
        self, peer: bytes, message: Message | PackedFrame, handle: Callable[[bytes, Any], None]
    ) -> bool:
        """Whether a message was refused by its handler; its peer has been told."""
        stream: str | None = getattr(message, "stream", None)
        seq: int | None = message.seq_from if isinstance(message, Skip) else getattr(message, "seq", None)
        try:
            handle(peer, message)
            return False
        except ProtocolError as error:
            self._refuse(peer, error.code, error.detail, error.stream, error.seq, error.expected)
        except ServerError as error:
            problem = problem_of(error)
            self._refuse(peer, problem.code, problem.detail, stream, seq, problem.expected)
        except Exception:
            _log.exception("cannot handle a message event=internal_error door=zmq stream=%r", stream)
            self._refuse(
                peer, "internal", "the server failed on this message; see its log", stream, seq, None
            )
        return True

    def _refuse(
        self,
        peer: bytes,
        code: str,
        detail: str,
        stream_id: str | None,
        seq: int | None,
        expected: Mapping[str, Any] | None,
    ) -> None:
        """Tell a refusal; where it was about a frame, also which frame would be taken instead."""
        stream = None if stream_id is None or seq is None else self._book.get(peer, stream_id)
        if stream is not None:
            expected = {**(expected or {}), "seq": stream.next_seq}
        problem = error_message(code, detail, stream=stream_id, seq=seq, expected=expected)
        self._metrics.refused(DOOR, code)
        address = self._router.address_of(peer)
        self._refusals.tell(code, address, problem.title, stream=stream_id, seq=seq)
        self._say(peer, problem)

    def _open(self, peer: bytes, message: Open) -> None:
        asker = Asker(peer, self._client_key)
        self._pace.take(asker.client)
        self._refuse_when_draining()
        self._tapes.refuse_unless_recording(message)
        if message.stream is None and message.resume_token is None:
            stream, opened = self._with_room(lambda: self._opener.open(asker, message, self._loop))
            self._enter(stream)
            _log.info(
                "opened event=opened door=zmq stream=%s model=%s window=%d key=%r",
                *(stream.id, stream.model, stream.window, self._admission.name_of(stream.owner)),
            )
            warn_of_open_doors(self._settings)
        else:
            entry = self._opener.look_up(asker, message)
            there = self._book.of_id(entry.id)
            if there is not None:
                self._part(there, "its client has come back by another connection")
            stream, opened = self._with_room(lambda: self._opener.resume(asker, message, entry, self._loop))
            self._enter(stream).reconnected()
        self._say(peer, opened)

    def _with_room(self, make: Callable[[], tuple[ServerStream, Opened]]) -> tuple[ServerStream, Opened]:
        """What `make` gives; for want of room, streams give theirs up whose peers do not answer."""
        try:
            return make()
        except TooManyStreams:
            absent = [stream for stream in self._book if self._router.is_absent(stream.peer)]
            for stream in absent:
                self._part(stream, "it does not answer pings, and another client needs its place")
            if not absent:
                raise
            return make()

    def _enter(self, stream: ServerStream) -> StreamMetrics:
        self._book.add(stream)
        return self._metrics.streams.open(stream.id, stream.client, lambda: stream.in_flight)

    def _check_frame(self, peer: bytes, packed: PackedFrame) -> None:
        """Refuse a frame by its header, so that no work goes into pixels that nobody waits for."""
        stream = self._find(peer, packed.stream)
        self._refuse_when_draining()
        stream.check(packed.seq, packed.layout.shape, packed.layout.dtype.name)

    def _frame(self, peer: bytes, frame: Frame) -> None:
        stream = self._find(peer, frame.stream)
        self._refuse_when_draining()
        task = stream.task(frame)
        if frame.seq in stream.context:
            self._engine.remind(stream.engine_id, task)
            del stream.context[frame.seq]
            self._metrics.streams.of(stream.id).resent()
            return
        future = self._engine.submit(stream.engine_id, task)
        stream.accept(frame, future)
        if (tape := self._tapes.of(stream.id)) is not None:
            tape.accept(frame, task)
        self._metrics.streams.of(stream.id).received(frame.seq)
        future.add_done_callback(partial(self._on_loop, partial(self._deliver, stream, frame.seq)))

    def _skip(self, peer: bytes, skip: Skip) -> None:
        stream = self._find(peer, skip.stream)
        self._refuse_when_draining()
        stream.check_skip(skip)
        self._engine.skip(stream.engine_id, skip.seq_from, skip.seq_to, skip.reason)
        self._journal.skipped(stream.id, skip.seq_from, skip.seq_to)
        self._tapes.skipped(stream.id, skip.seq_from, skip.seq_to, skip.reason)
        self._metrics.streams.of(stream.id).skipped(skip.seq_to - skip.seq_from + 1)
        self._say(peer, stream.skipped(skip.seq_to))

    def _ack(self, peer: bytes, ack: Ack) -> None:
        stream = self._find(peer, ack.stream)
        stream.acknowledge(ack)
        self._journal.acknowledged(stream.id, stream.acknowledged)

    def _update(self, peer: bytes, update: Update) -> None:
        stream = self._find(peer, update.stream)
        self._refuse_when_draining()
        thresholds = stream.new_thresholds(update)
        known = self._journal.update_at(stream.id, update.from_seq)
        if known is not None and update.from_seq < stream.next_seq:  # its UPDATED was lost
            in_force = InForce(known.from_seq, self._engine.models()[known.model], known.thresholds)
            self._say(peer, stream.updated(in_force))
            return
        future = self._engine.update(stream.engine_id, update.from_seq, update.model, thresholds)
        self._unanswered += 1
        future.add_done_callback(partial(self._on_loop, partial(self._tell_updated, stream)))

    def _close(self, peer: bytes, message: Close) -> None:
        stream = self._find(peer, message.stream)
        if stream.close(message):
            self._unanswered += 1
            future = self._engine.close(stream.engine_id)
            future.add_done_callback(partial(self._on_loop, partial(self._tell_closed, stream)))

    def _ping(self, peer: bytes, ping: Ping) -> None:
        self._say(peer, Pong(t=ping.t, boot_id=self._boot_id, queue=self._engine.queue_length()))

    def _find(self, peer: bytes, stream_id: str) -> ServerStream:
        return self._book.find(peer, stream_id, owner=self._client_key)

    def _refuse_when_draining(self) -> None:
        if self._draining:
            raise Draining("the server is shutting down and takes nothing new; try again when it is back")

    # --- from the engine

    def _on_loop(self, then: Callable[[Any], None], future: Future[Any]) -> None:
        """Called on the device thread, in the order of the frames, which the loop keeps."""
        self._loop.call_soon_threadsafe(then, future)

    def _deliver(self, stream: ServerStream, seq: int, future: Future[EngineResult]) -> None:
        if future.cancelled():
            self._metrics.undeliverable.inc()  # its peer is gone, and will send it again
            return
        problem = future.exception()
        if problem is not None:  # an engine answers even a failed frame with a result: it is broken
            _log.error("no result event=internal_error stream=%s seq=%d", stream.id, seq, exc_info=problem)
            self._part(stream, "the engine lost a frame, which its client still has")
            return
        result = future.result()
        if stream in self._book:
            self._journal.answered(stream.id, result, indexed=stream.indexed)
            tape = self._tapes.of(stream.id)
            if tape is None:
                self._send_result(stream, result)
            else:
                model = self._engine.models()[result.model_id]
                tape.record(result, model, partial(self._send_result, stream, result))
        else:
            self._metrics.undeliverable.inc()
        self._metrics.answered(DOOR, result)
        self._metrics.streams.of(stream.id).answered(result)

    def _send_result(self, stream: ServerStream, result: EngineResult) -> None:
        outgoing = Outgoing(
            make=lambda: encode(stream.result(result), checksum=stream.checksum),
            sent=partial(stream.handed_over, result.seq),
            lost=partial(self._undeliverable, stream, result.seq),
            owed=True,
        )
        self._router.send(stream.peer, outgoing)

    def _tell_updated(self, stream: ServerStream, future: Future[InForce]) -> None:
        self._unanswered -= 1
        problem = future.exception()
        if problem is None:
            self._journal.updated(stream.id, entry_of(future.result()))
            self._tapes.updated(stream.id, future.result())
            self._say(stream.peer, stream.updated(future.result()))
        elif isinstance(problem, ServerError):
            self._refuse(stream.peer, problem.code, str(problem), stream.id, None, None)
        else:
            _log.error("no update event=internal_error stream=%s", stream.id, exc_info=problem)
            self._refuse(
                stream.peer, "internal", "the server failed on UPDATE; see its log", stream.id, None, None
            )

    def _tell_closed(self, stream: ServerStream, future: Future[Counts]) -> None:
        if future.exception() is not None:  # the engine is broken
            self._unanswered -= 1
            self._part(stream, "the engine could not close it")
            return
        final = self._tapes.finish(stream.id)
        if final is None:
            self._say_closed(stream, stream.closed(future.result()))
            return
        then = partial(self._tell_files, stream, future.result())
        final.add_done_callback(partial(self._on_loop, then))

    def _tell_files(
        self, stream: ServerStream, counts: Counts, final: Future[tuple[RecordedFile, ...]]
    ) -> None:
        failure = final.exception()
        if failure is None:
            self._say_closed(stream, stream.closed(counts, final.result()))
            return
        files = failure.files if isinstance(failure, RecordingFailed) else ()
        error = error_message("recording_failed", str(failure), stream=stream.id)
        self._say_closed(stream, stream.closed(counts, files, error))

    def _say_closed(self, stream: ServerStream, message: Closed) -> None:
        self._unanswered -= 1
        if stream in self._book:  # else it may have been resumed meanwhile
            self._journal.closed(stream.id)
            self._metrics.streams.close(stream.id)
        forget = partial(self._book.remove, stream)
        self._router.send(
            stream.peer, Outgoing(make=lambda: encode(message), sent=forget, lost=forget, owed=True)
        )
        _log.info("closed event=closed door=zmq stream=%s counts=%s", stream.id, dict(message.counts))

    def _say(self, peer: bytes, message: Message) -> None:
        self._router.send(peer, Outgoing(make=lambda: encode(message)))

    # --- peers that are gone, or have to go

    def expel_revoked(self) -> None:
        """Let go of clients whose keys were taken back; those that say nothing are told, too."""
        for stream in self._book:
            unwanted = self._admission.refusal(stream.peer, stream.owner)
            if unwanted is not None and stream in self._book:
                self._expel(stream.peer, unwanted)

    def _let_go(self, peer: bytes, why: str) -> None:
        """Let go of the streams of a peer whose connection has ended; what it has closed ends in order."""
        for stream in self._book.of_peer(peer):
            if not stream.closing:
                self._part(stream, why)

    def _expel(self, peer: bytes, why: str) -> None:
        """Deal with a peer no more. Its streams can be resumed once its key is back, within their lease."""
        self._metrics.refused(DOOR, NOT_ADMITTED)
        self._refusals.tell(NOT_ADMITTED, self._router.address_of(peer), why)
        self._say(peer, error_message(NOT_ADMITTED, why))
        for stream in self._book.of_peer(peer):
            self._part(stream, why)

    def _undeliverable(self, stream: ServerStream, seq: int) -> None:
        self._metrics.undeliverable.inc()
        stream.handed_over(seq)
        self._part(stream, "a result could not be delivered")

    def _part(self, stream: ServerStream, why: str) -> None:
        """Let go of the peer of a stream, which can be resumed within its lease."""
        if stream not in self._book:
            return
        self._book.remove(stream)
        self._metrics.streams.close(stream.id)
        _log.warning(
            "peer gone event=peer_gone door=zmq stream=%s next_seq=%d reason=%r",
            *(stream.id, stream.next_seq, why),
        )
        stream.break_off()
        if (tape := self._tapes.of(stream.id)) is not None:
            tape.break_off()
        if not stream.closing:
            with contextlib.suppress(ServerError):  # an engine that has stopped has closed it
                self._engine.close(stream.engine_id)

    def _pass_time(self) -> None:
        """Let time pass for the streams whose peers are gone."""
        now = self._loop.time()
        ended = self._journal.pass_time(
            now - self._looked_at,
            in_use=[stream.id for stream in self._book],
            lease_s=self._lease_s,
            most=self._max_kept_streams,
        )
        self._looked_at = now
        for stream_id in ended:
            _log.warning("stream forgotten event=lease_ended stream=%s", stream_id)
            self._tapes.finish(stream_id)
        self._sweep = self._loop.call_later(self._sweep_s, self._pass_time)
