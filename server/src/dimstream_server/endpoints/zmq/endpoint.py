"""The streaming endpoint: DIM1 messages from any number of peers in, answers out. It only translates.

What a stream may do is the service's to say, how bytes travel is `router`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple

from dimstream_client.errors import ProtocolError
from dimstream_client.messages import (
    Ack,
    Close,
    Closed,
    Frame,
    Message,
    Open,
    Ping,
    Pong,
    Skip,
    Update,
    Updated,
)
from dimstream_client.wire import MAX_HEADER_BYTES, PackedFrame, decode_packed, encode
from dimstream_server.endpoints.refusal_log import RefusalLog
from dimstream_server.endpoints.zmq.admission import NOT_ADMITTED, Admission, Handshakes
from dimstream_server.endpoints.zmq.outbox import Outgoing, Part
from dimstream_server.endpoints.zmq.router import CannotBind, Router
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.errors import ServerError
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.problem_details import RequestRefused, error_message, problem_of
from dimstream_server.security.access import Access, warn_of_open_endpoints
from dimstream_server.settings import Settings
from dimstream_server.streams import Requester, ServerStream, StreamService

ENDPOINT = "zmq"
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


class _Sender(NamedTuple):
    """Who has sent a message: its connection, and its client's public key where clients have one."""

    peer: bytes
    key: str


class ZmqEndpoint:
    """Translates: DIM1 messages for the service, and what comes of them into DIM1 messages.

    It is the `Channel` of the streams that come by it.

    Parameters
    ----------
    router : Router
        Bound, not started.
    access : Access
        Who is dealt with; the router was bound with the same.
    """

    endpoint: Final = ENDPOINT

    def __init__(
        self, service: StreamService, router: Router, settings: Settings, metrics: Metrics, *, access: Access
    ) -> None:
        self._service = service
        self._router = router
        self._settings = settings
        self._metrics = metrics
        self._admission = Admission(access)
        self._refusals = RefusalLog(ENDPOINT)
        self._max_frame_bytes = settings.limits.max_frame_bytes
        self._unpacking = 0
        self._unpackers = ThreadPoolExecutor(UNPACKERS, thread_name_prefix="dimstream-unpack")
        self._handlers: Mapping[type[Any], Callable[[_Sender, Any], None]] = {
            Frame: self._frame,
            Update: self._update,
            Close: self._close,
            Ping: self._ping,
        }

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve from now on, on this loop and from its thread."""
        self._loop = loop
        self._router.start(loop, self._handle, self._service.release_peer, self._service.payload_bytes)

    @property
    def is_drained(self) -> bool:
        """Whether all that came was passed on, and all answers have gone out."""
        return not self._unpacking and self._router.is_idle

    async def close(self, *, flush_s: float) -> None:
        """Close once everything that was sent has gone out, or after `flush_s` seconds."""
        self._router.stop()
        await self._router.flush(flush_s)
        self._router.close()
        self._unpackers.shutdown(wait=False, cancel_futures=True)

    # --- from the peers

    def _handle(self, peer: bytes, parts: list[Part], client_key: str = "") -> asyncio.Future[None] | None:
        """Deal with a message; with a future, its peer's next one has to wait for that."""
        sender = _Sender(peer, client_key)
        unwanted = self._admission.refusal(peer, client_key)
        if unwanted is not None:
            self._expel(peer, unwanted)
            return None
        try:
            message = decode_packed(parts, max_payload_bytes=self._max_frame_bytes)
        except ProtocolError as error:
            self._refuse(peer, error.code, error.detail, error.stream, error.seq, error.expected)
            return None
        if isinstance(message, Open | Skip | Ack):
            return self._loop.create_task(self._deal_with(sender, message))
        with self._refusing(peer, message):
            if isinstance(message, PackedFrame) and message.work_bytes > UNPACK_HERE_BYTES:
                self._check_frame(sender, message)
                return self._loop.create_task(self._unpack_aside(sender, message))
            self._dispatch(sender, message)
        return None

    async def _deal_with(self, sender: _Sender, message: Open | Skip | Ack) -> None:
        """Deal with what has to be written down; its sender's next message waits until then."""
        with self._refusing(sender.peer, message):
            if isinstance(message, Open):
                await self._open(sender, message)
            elif isinstance(message, Skip):
                stream = self._find(sender, message.stream)
                self._say(sender.peer, await self._service.skip(stream, message))
            else:
                await self._service.acknowledge(self._find(sender, message.stream), message)

    async def _open(self, sender: _Sender, message: Open) -> None:
        name = self._admission.name_of(sender.key)
        requester = Requester(sender.peer, sender.key, self, name)
        stream, opened = await self._service.open(requester, message)
        if message.stream is None:
            _log.info(
                "opened event=opened endpoint=zmq stream=%s client=%r model=%s window=%d key=%r",
                *(stream.id, stream.client, stream.model, stream.window, name),
            )
            warn_of_open_endpoints(self._settings)
        self._say(sender.peer, opened)
        for change in stream.unread_changes:
            self._say(sender.peer, change)

    async def _unpack_aside(self, sender: _Sender, packed: PackedFrame) -> None:
        """Unpack a frame that is wanted on another thread, then deal with it."""
        self._unpacking += 1
        work = partial(packed.unpack, max_bytes=self._max_frame_bytes)
        unpacked = self._loop.run_in_executor(self._unpackers, work)
        try:
            await asyncio.wait([unpacked])
        finally:
            self._unpacking -= 1
        with self._refusing(sender.peer, packed):
            self._frame(sender, unpacked.result())

    def _dispatch(self, sender: _Sender, message: Message | PackedFrame) -> None:
        if isinstance(message, PackedFrame):
            self._check_frame(sender, message)
            message = message.unpack(max_bytes=self._max_frame_bytes)
        handler = self._handlers.get(type(message))
        if handler is None:
            raise RequestRefused("unknown_type", f"{message.TYPE} is sent by the server only")
        handler(sender, message)

    def _check_frame(self, sender: _Sender, packed: PackedFrame) -> None:
        stream = self._find(sender, packed.stream)
        self._service.check(stream, packed.seq, packed.layout.shape, packed.layout.dtype.name)

    def _frame(self, sender: _Sender, frame: Frame) -> None:
        self._service.submit(self._find(sender, frame.stream), frame)

    def _update(self, sender: _Sender, update: Update) -> None:
        self._service.update(self._find(sender, update.stream), update)

    def _close(self, sender: _Sender, message: Close) -> None:
        self._service.close(self._find(sender, message.stream), message)

    def _ping(self, sender: _Sender, ping: Ping) -> None:
        queue = self._service.queue_length()
        self._say(sender.peer, Pong(t=ping.t, boot_id=self._service.boot_id, queue=queue))

    def _find(self, sender: _Sender, stream_id: str) -> ServerStream:
        return self._service.find(sender.peer, stream_id, owner=sender.key)

    # --- refusals

    @contextlib.contextmanager
    def _refusing(self, peer: bytes, message: Message | PackedFrame) -> Iterator[None]:
        """Report to its peer why a message is refused."""
        stream: str | None = getattr(message, "stream", None)
        seq: int | None = message.seq_from if isinstance(message, Skip) else getattr(message, "seq", None)
        try:
            yield
        except ProtocolError as error:
            self._refuse(peer, error.code, error.detail, error.stream, error.seq, error.expected)
        except ServerError as error:
            problem = problem_of(error)
            self._refuse(peer, problem.code, problem.detail, stream, seq, problem.expected)
        except Exception:
            _log.exception("cannot handle a message event=internal_error endpoint=zmq stream=%r", stream)
            self._refuse(
                peer, "internal", "the server failed on this message; see its log", stream, seq, None
            )

    def _refuse(
        self,
        peer: bytes,
        code: str,
        detail: str,
        stream_id: str | None,
        seq: int | None,
        expected: Mapping[str, Any] | None,
    ) -> None:
        """Report a refusal; where it was about a frame, also which frame would be taken instead."""
        next_seq = None if stream_id is None or seq is None else self._service.next_seq_of(peer, stream_id)
        if next_seq is not None:
            expected = {**(expected or {}), "seq": next_seq}
        problem = error_message(code, detail, stream=stream_id, seq=seq, expected=expected)
        self._metrics.refused(ENDPOINT, code)
        address = self._router.address_of(peer)
        self._refusals.tell(code, address, problem.title, stream=stream_id, seq=seq)
        self._say(peer, problem)

    # --- the channel of its streams

    def result(self, stream: ServerStream, result: EngineResult) -> None:
        """Send a result, which gives credit back once it is handed over."""
        outgoing = Outgoing(
            make=lambda: encode(stream.result(result), checksum=stream.checksum),
            sent=partial(self._service.delivered, stream, result.seq),
            lost=partial(self._service.undeliverable, stream, result.seq),
            owed=True,
        )
        self._router.send(stream.peer, outgoing)

    def updated(self, stream: ServerStream, message: Updated) -> None:
        """Send what is in force from when on."""
        self._say(stream.peer, message)

    def closed(self, stream: ServerStream, message: Closed) -> None:
        """Send the end of a stream."""
        forget = partial(self._service.forget, stream)
        outgoing = Outgoing(make=lambda: encode(message), sent=forget, lost=forget, owed=True)
        self._router.send(stream.peer, outgoing)

    def refused(self, stream: ServerStream, problem: BaseException) -> None:
        """Send why an UPDATE will not be done."""
        if isinstance(problem, ServerError):
            self._refuse(stream.peer, problem.code, str(problem), stream.id, None, None)
        else:
            detail = "the server failed on UPDATE; see its log"
            self._refuse(stream.peer, "internal", detail, stream.id, None, None)

    def is_absent(self, peer: bytes) -> bool:
        """Whether a connection does not answer, though it has not ended."""
        return self._router.is_absent(peer)

    def _say(self, peer: bytes, message: Message) -> None:
        self._router.send(peer, Outgoing(make=lambda: encode(message)))

    # --- peers that have to go

    def expel_revoked(self) -> None:
        """Let go of clients whose keys were taken back; those that say nothing are told, too."""
        for stream in self._service.streams():
            if stream.channel is not self:
                continue
            unwanted = self._admission.refusal(stream.peer, stream.owner)
            if unwanted is not None and self._service.next_seq_of(stream.peer, stream.id) is not None:
                self._expel(stream.peer, unwanted)

    def _expel(self, peer: bytes, why: str) -> None:
        """Deal with a peer no more. Its streams can be resumed once its key is back, within their lease."""
        self._metrics.refused(ENDPOINT, NOT_ADMITTED)
        self._refusals.tell(NOT_ADMITTED, self._router.address_of(peer), why)
        self._say(peer, error_message(NOT_ADMITTED, why))
        for stream in self._service.streams_of(peer):
            self._service.release(stream, why)
