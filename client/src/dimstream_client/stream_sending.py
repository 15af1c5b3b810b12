"""Send the messages of one stream: frames and SKIPs while there is credit, ACKs, CLOSE at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from dimstream_client.arguments import frame_of
from dimstream_client.errors import Code, DimstreamError, Problem, StreamError
from dimstream_client.header_checks import MAX_WINDOW
from dimstream_client.messages import Ack, Close, Closed, Frame, Message, Skip
from dimstream_client.pending_requests import PendingRequests
from dimstream_client.pixels import Part
from dimstream_client.session import Item
from dimstream_client.stream_channel import PendingRequest, StreamChannel
from dimstream_client.wire import encode

_ACK_EVERY: Final = 16  # results, or a window of them
_log = logging.getLogger("dimstream")


class FreshItem(NamedTuple):
    """A new frame of a program, and its message parts without compression."""

    item: Item
    parts: list[Part]


class Sender:
    """Encodes and sends messages; an item that cannot be sent fails only its own frame.

    Parameters
    ----------
    send : callable
        Sends the parts of a message.
    pending : PendingRequests
        Store of the requests that were sent.
    forget : callable
        Called with the stream that was closed.
    """

    def __init__(
        self,
        send: Callable[[list[Part]], None],
        *,
        pending: PendingRequests,
        forget: Callable[[StreamChannel], None],
    ) -> None:
        self._send = send
        self._pending = pending
        self._forget = forget

    def say(self, message: Message, *, codec: str = "none", checksum: bool = False) -> None:
        """Send a message."""
        self._send(encode(message, codec=codec, checksum=checksum))

    def ask(self, pending: PendingRequest) -> None:
        """Send a request."""
        self._pending.add(pending)
        self.say(pending.message)

    def pump(self, channel: StreamChannel, fresh: FreshItem | None = None) -> None:
        """Send what may be sent now, `fresh` without encoding it again; send CLOSE when nothing is left."""
        channel.report_refusals()
        if channel.is_lost:
            return
        session = channel.session
        # Before closing, results need not be taken if they are few.
        is_free = channel.closing is not None and not channel.receiver.is_long
        free_capacity = MAX_WINDOW if is_free else channel.receiver.free_capacity() - session.owed
        for item in session.outgoing(free_capacity=free_capacity):
            try:
                self._say_item(channel, item, fresh)
            except Exception as error:  # affects only this frame: its file or content
                self._unreadable(channel, item, error)
                return
        settled = min(channel.receiver.settled(), session.next_result)
        if settled - channel.acked >= max(session.opened.window, _ACK_EVERY):
            channel.acked = settled
            self.say(Ack(channel.stream, channel.acked))
        if channel.closing is not None and session.is_idle:
            future, channel.closing = channel.closing, None
            close = Close(channel.stream, session.last_seq)
            self.ask(
                PendingRequest(close, Closed.TYPE, channel.stream, future, lambda _: self._forget(channel))
            )

    def _unreadable(self, channel: StreamChannel, item: Item, error: Exception) -> None:
        if isinstance(item, Skip):
            raise error
        channel.session.unreadable(item.seq)
        detail = error.detail if isinstance(error, DimstreamError) else f"it cannot be sent: {error!r}"
        problem = Problem.of(Code.FRAME_FAILED, detail, stream=channel.stream, seq=item.seq)
        channel.refusals.append((StreamError(problem), 1))
        self.pump(channel)

    def send_references(self, channel: StreamChannel) -> None:
        """Send again what the server wants to compare the next frames with; it must miss what is not kept."""
        for seq in channel.session.opened.references:
            try:
                kept = channel.session.reference(seq) or self._reference(channel, seq)
                if kept is not None:
                    self._say_item(channel, kept)
            except BaseException as error:  # of a file, or of the program that gives frames again
                detail = f"frame {seq} cannot be given again, the next of its plane is unjudged: {error!r}"
                _log.error("stream %s: %s", channel.stream, detail, exc_info=error)
                channel.receiver.fail(DimstreamError(Code.INTERNAL, detail), frames=0, is_final=False)

    def _reference(self, channel: StreamChannel, seq: int) -> Frame | None:
        frame = channel.reference_of(seq)
        return frame and frame_of(frame, stream=channel.stream, seq=seq, request=channel.request)

    def _say_item(self, channel: StreamChannel, item: Item, fresh: FreshItem | None = None) -> None:
        opened = channel.session.opened
        if fresh is not None and fresh.item is item and opened.codec == "none" and opened.checksum != "crc32":
            self._send(fresh.parts)
            return
        message = item if isinstance(item, (Frame, Skip)) else item.load()
        self.say(message, codec=opened.codec, checksum=opened.checksum == "crc32")
