"""The client's side of the protocol: requests and answers, streams, and lost connections.

When a connection is lost, every stream is resumed on the next one. Sockets and threads belong to
`connection`; everything here is called on its I/O thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from dimstream_client.answer_checks import why_not_opened, why_not_result
from dimstream_client.errors import (
    ArgumentError,
    Code,
    ConnectionLost,
    DimstreamError,
    NotAdmitted,
    ProtocolError,
    StreamError,
)
from dimstream_client.lost_streams import LostStreams
from dimstream_client.messages import (
    Close,
    Closed,
    Credit,
    Error,
    Message,
    Open,
    Opened,
    Pong,
    Result,
    Updated,
)
from dimstream_client.pending_requests import PendingRequests
from dimstream_client.pixels import Part, largest_result_bytes
from dimstream_client.session import MAX_RETRIES, PATIENT_CODES, Item, Session
from dimstream_client.stream_channel import PendingRequest, Receiver, ReferenceOf, StreamChannel, fail
from dimstream_client.stream_sending import FreshItem, Sender
from dimstream_client.wire import decode

_BUSY_S: Final = 0.1  # before a server that was too busy is tried again
_log = logging.getLogger("dimstream")


class ProtocolClient:
    """Requests and streams of one client, over one or more consecutive connections.

    Parameters
    ----------
    endpoint : str
        Endpoint for error messages.
    outage_s : float
        Seconds that streams wait for a lost server, before they end.
    send : callable
        Sends the parts of a message.

    Attributes
    ----------
    expelled : ConnectionLost or None
        Why this connection is no longer usable.
    """

    def __init__(self, endpoint: str, *, outage_s: float, send: Callable[[list[Part]], None]) -> None:
        self.endpoint = endpoint
        self.expelled: ConnectionLost | None = None
        self._channels: dict[str, StreamChannel] = {}
        self._pending = PendingRequests()
        self._sender = Sender(send, pending=self._pending, forget=self._forget)
        self._lost = LostStreams(
            endpoint, outage_s=outage_s, channels=self._channels, pending=self._pending, sender=self._sender
        )
        self._garbled = 0  # consecutive messages that could not be read

    @property
    def is_owed(self) -> bool:
        """Whether an answer of the server is due."""
        return bool(self._pending) or not all(
            channel.is_lost or channel.session.is_idle for channel in self._channels.values()
        )

    @property
    def has_lost(self) -> bool:
        """Whether some streams must be resumed."""
        return any(channel.is_lost for channel in self._channels.values())

    @property
    def largest_result_bytes(self) -> int:
        """Largest payload of a result, bytes."""
        return max((channel.result_bytes for channel in self._channels.values()), default=0)

    # --- from the server

    def handle(self, parts: Sequence[Part]) -> None:
        """Handle a message; an error in it affects only its own stream."""
        try:
            message = decode(parts, max_payload_bytes=self.largest_result_bytes)
        except Exception as error:
            if not isinstance(error, ProtocolError):
                error = ProtocolError(Code.INTERNAL, f"it cannot be read: {error!r}")
            self._misunderstood(bytes(parts[0][4:64]).decode("ascii", "replace") if parts else "", error)
            return
        self._garbled = 0
        channel = self._channels.get(getattr(message, "stream", None) or "")
        try:
            self._take(message, channel)
        except Exception as error:
            self.fault(channel, error)

    def _take(self, message: Message, channel: StreamChannel | None) -> None:
        if isinstance(message, Error):
            self._refused(message, channel)
        elif isinstance(message, (Opened, Updated, Closed, Pong)) and getattr(message, "by", None) is None:
            self._answered(message)
        elif channel is None or channel.is_lost:
            return  # from before the loss
        elif isinstance(message, Updated):
            channel.receiver.changed(message)
        elif isinstance(message, Result):
            self._result(channel, message)
        elif isinstance(message, Credit):
            why_not = channel.session.why_not_limit(message.limit)
            if why_not is not None:
                self._lost.distrust(channel, f"CREDIT: {why_not}")
                return
            channel.session.credit(message)
            self._sender.pump(channel)

    def _result(self, channel: StreamChannel, result: Result) -> None:
        session, oldest = channel.session, channel.session.oldest
        if oldest is None or result.seq != oldest.seq:
            expected = "none, as none is owed" if oldest is None else f"that of frame {oldest.seq}"
            why_not: str | None = f"expected {expected}"
        else:
            why_not = session.why_not_limit(result.limit) or why_not_result(
                channel.request, oldest.index, result
            )
        if why_not is not None:
            channel.receiver.refused += 1
            self._lost.distrust(channel, f"RESULT {result.seq}: {why_not}")
            return
        channel.damaged = 0
        session.result(result)
        channel.receiver.deliver(result)
        self._sender.pump(channel)

    def _misunderstood(self, kind: str, error: ProtocolError) -> None:
        """Request a damaged message again; ignore a message that was not requested."""
        channel = self._channels.get(error.stream or "")
        pending = self._pending.answered(kind, None if channel is None else channel.stream)
        if channel is not None and (pending is not None or kind == Result.TYPE):
            if pending is not None:
                self._lost.postpone(channel, pending)
            if not channel.is_lost or pending is not None:
                channel.receiver.refused += kind == Result.TYPE
                self._lost.ask_again(channel, error)
        elif pending is not None:
            fail(pending.future, error)
        else:
            self._garbage(kind, error)

    def _garbage(self, kind: str, error: ProtocolError) -> None:
        self._garbled += 1
        if self._garbled == 1:
            _log.warning("a message of the server at %s is ignored: %s", self.endpoint, error)
        if not self._channels:  # no harm: the caller can ask again
            self._give_up_requests(error)
        if kind == Result.TYPE:  # a result of an unknown stream is now missing
            for channel in list(self._channels.values()):
                if channel.session.owed and not channel.is_lost:
                    self._lost.lose(channel, error)
        if self._garbled > MAX_RETRIES:
            self._garbled = 0
            self.expelled = ConnectionLost(f"{self.endpoint} is no dimstream server: {error.detail}")

    def fault(self, channel: StreamChannel | str | None, error: BaseException) -> None:
        """End one stream because of a fault of this program; the others continue."""
        found = self._channels.get(channel) if isinstance(channel, str) else channel
        _log.error("a fault of the client, stream %s", found and found.stream, exc_info=error)
        if found is not None:
            detail = f"a fault of the client ended stream {found.stream}, please report it: {error!r}"
            self._lost.end(found, DimstreamError(Code.INTERNAL, detail))

    def _refused(self, error: Error, channel: StreamChannel | None) -> None:
        if error.code == Code.NOT_ADMITTED:  # no matter what it is about: nothing else will be answered
            self.expelled = NotAdmitted(error.detail)
            return
        if channel is not None and error.code == Code.UNKNOWN_STREAM:
            self._lost.lose(channel, StreamError(error))
            return
        if channel is not None and error.seq is not None:
            if not channel.is_lost:
                self._frame_refused(error, channel)
            return
        pending = self._pending.refused(error.stream)
        if pending is not None:
            if pending.answer == Opened.TYPE and channel is not None:
                self._lost.not_resumed(channel, StreamError(error))
                return
            fail(pending.future, StreamError(error))
            if pending.answer == Closed.TYPE and channel is not None:
                self._forget(channel)
            return
        if channel is not None:
            channel.receiver.fail(StreamError(error), frames=0)
        else:
            _log.warning("the server at %s reports: %s", self.endpoint, error.detail)

    def _frame_refused(self, error: Error, channel: StreamChannel) -> None:
        before = channel.session.frames
        given_up, resume = channel.session.refused(error)
        if given_up is not None:
            channel.refusals.append((given_up, before - channel.session.frames))
        if resume:
            self._lost.resume(channel, after_s=_BUSY_S if error.code in PATIENT_CODES else 0.0)
        self._sender.pump(channel)

    def _answered(self, message: Opened | Updated | Closed | Pong) -> None:
        names_stream = isinstance(message, (Updated, Closed))
        names_stream = names_stream or (isinstance(message, Opened) and message.stream in self._channels)
        stream = message.stream if names_stream and not isinstance(message, Pong) else None
        pending = self._pending.answered(message.TYPE, stream)
        if pending is None:
            return
        wanted = pending.future.set_running_or_notify_cancel()
        if isinstance(message, Opened) and not wanted:
            self._sender.say(Close(message.stream))  # it came too late for the caller
            return
        try:
            if pending.then is not None:
                pending.then(message)
        except Exception as error:
            if not wanted:
                raise
            pending.future.set_exception(error)
            if not isinstance(error, DimstreamError):
                raise
        else:
            if wanted:
                pending.future.set_result(message)

    # --- requests

    def open(
        self, request: Open, receiver: Receiver, reference_of: ReferenceOf | None, future: Future[Opened]
    ) -> None:
        """Send a request for a stream."""
        if request.stream in self._channels:
            what = f"stream {request.stream} is open in this client; use that one, or close it first"
            fail(future, ArgumentError(Code.BAD_FIELD, what))
            return
        then = partial(self._opened, request, receiver, reference_of)
        self._sender.ask(PendingRequest(request, Opened.TYPE, None, future, then))

    def ask(self, pending: PendingRequest) -> None:
        """Send a request."""
        self._sender.ask(pending)

    def say(self, message: Message) -> None:
        """Send a message that has no answer."""
        self._sender.say(message)

    def update(self, pending: PendingRequest) -> None:
        """Send an UPDATE now, or when its stream is resumed."""
        channel = self._channels.get(pending.stream or "")
        if channel is not None and channel.is_lost:
            channel.unanswered.append(pending)
        else:
            self._sender.ask(pending)

    def _opened(
        self, request: Open, receiver: Receiver, reference_of: ReferenceOf | None, opened: Opened
    ) -> None:
        why_not = why_not_opened(request, opened)
        if why_not is not None:
            self._sender.say(Close(opened.stream))
            raise ProtocolError(
                Code.BAD_FIELD, f"{self.endpoint} sent an answer that does not fit: {why_not}"
            )
        session = Session(opened, latest=request.mode == "latest")
        channel = self._channels[opened.stream] = StreamChannel(
            request=request,
            session=session,
            receiver=receiver,
            result_bytes=largest_result_bytes(request),
            acked=opened.next_seq,
            reference_of=reference_of or (lambda _: None),
        )
        self._sender.send_references(channel)

    def offer(self, item: Item, fresh: FreshItem | None = None) -> None:
        """Send a frame or SKIP as soon as there is credit; `fresh` is its message without compression."""
        channel = self._channels.get(item.stream)
        if channel is None:
            return  # the stream has failed, and its receiver knows
        if channel.session.over is not None:
            channel.refusals.append((channel.session.over, 1))
            channel.report_refusals()
            return
        channel.session.offer(item)
        self._sender.pump(channel, fresh)

    def retry(self) -> None:
        """Try again to resume lost streams."""
        for channel in list(self._channels.values()):
            try:
                self._lost.retry(channel)
            except Exception as error:
                self.fault(channel, error)

    def look_again(self, stream: str) -> None:
        """Send frames that waited for room for their results."""
        channel = self._channels.get(stream)
        if channel is not None:
            self._sender.pump(channel)

    def close_stream(self, stream: str, future: Future[Closed], *, drop: bool) -> None:
        """Send CLOSE after every frame is answered; with `drop`, first drop the frames that were not sent."""
        channel = self._channels.get(stream)
        if channel is None:
            fail(future, ConnectionLost(f"stream {stream} ended before it could be closed"))
            return
        if drop:
            channel.session.drop_unsent()
        channel.closing = future
        self._sender.pump(channel)

    def _forget(self, channel: StreamChannel) -> None:
        self._channels.pop(channel.stream, None)
        channel.receiver.end()

    # --- a server that is lost, and comes back

    def hang_up(self, error: ConnectionLost) -> None:
        """Mark the connection and all its streams as lost; they are resumed on the next connection."""
        self._give_up_requests(error)
        for channel in list(self._channels.values()):
            self._lost.lose(channel, error)
        self.expelled = None

    def move(self) -> None:
        """Leave this connection for another one, on which every stream is resumed at once."""
        for channel in list(self._channels.values()):
            self._lost.resume(channel)
        self.expelled = None

    def ask_again(self) -> None:
        """Send the requests that concern no stream again, on the new connection."""
        for pending in self._pending.of_none():
            self._sender.ask(pending)

    def _give_up_requests(self, error: DimstreamError) -> None:
        """Fail the requests that concern no stream."""
        for pending in self._pending.of_none():
            fail(pending.future, error)

    def fail_all(self, error: DimstreamError) -> None:
        """Fail all requests and streams."""
        self._give_up_requests(error)
        for channel in list(self._channels.values()):
            self._lost.end(channel, error)
