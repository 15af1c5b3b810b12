"""What goes out on one stream: frames and SKIPs while there is credit, ACKs, CLOSE at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from dimstream_client.arguments import frame_of
from dimstream_client.errors import Code, DimstreamError, Problem, StreamError
from dimstream_client.fields import MAX_WINDOW
from dimstream_client.lines import Asked, Line
from dimstream_client.messages import Ack, Close, Closed, Frame, Message, Skip
from dimstream_client.pending_requests import PendingRequests
from dimstream_client.pixels import Part
from dimstream_client.session import Item
from dimstream_client.wire import encode

_ACK_EVERY: Final = 16  # results, or a window of them
_log = logging.getLogger("dimstream")


class Sender:
    """Encodes and sends; what cannot be sent costs its own frame alone.

    Parameters
    ----------
    send : callable
        Sends the parts of a message.
    asked : PendingRequests
        Where requests that were sent are kept.
    forget : callable
        Called with the stream that was closed.
    """

    def __init__(
        self,
        send: Callable[[list[Part]], None],
        *,
        asked: PendingRequests,
        forget: Callable[[Line], None],
    ) -> None:
        self._send = send
        self._asked = asked
        self._forget = forget

    def say(self, message: Message, *, codec: str = "none", checksum: bool = False) -> None:
        """Send a message."""
        self._send(encode(message, codec=codec, checksum=checksum))

    def ask(self, asked: Asked) -> None:
        """Send a request."""
        self._asked.add(asked)
        self.say(asked.message)

    def pump(self, line: Line) -> None:
        """Send what may be sent now; CLOSE when nothing is left."""
        line.tell_refusals()
        if line.is_lost:
            return
        session = line.session
        # Who closes need not take results first, as long as those are few.
        is_free = line.closing is not None and not line.receiver.is_long
        room = MAX_WINDOW if is_free else line.receiver.room() - session.owed
        for item in session.outgoing(room=room):
            try:
                self._say_item(line, item)
            except Exception as error:  # of this frame alone: its file, or what it holds
                self._unreadable(line, item, error)
                return
        settled = min(line.receiver.settled(), session.next_result)
        if settled - line.acked >= max(session.opened.window, _ACK_EVERY):
            line.acked = settled
            self.say(Ack(line.stream, line.acked))
        if line.closing is not None and session.is_idle:
            future, line.closing = line.closing, None
            close = Close(line.stream, session.last_seq)
            self.ask(Asked(close, Closed.TYPE, line.stream, future, lambda _: self._forget(line)))

    def _unreadable(self, line: Line, item: Item, error: Exception) -> None:
        if isinstance(item, Skip):
            raise error
        line.session.unreadable(item.seq)
        detail = error.detail if isinstance(error, DimstreamError) else f"it cannot be sent: {error!r}"
        problem = Problem.of(Code.FRAME_FAILED, detail, stream=line.stream, seq=item.seq)
        line.refusals.append((StreamError(problem), 1))
        self.pump(line)

    def send_context(self, line: Line) -> None:
        """Send again what the server wants to compare the next frames with; it must miss what is not kept."""
        for seq in line.session.opened.context:
            try:
                kept = line.session.context(seq) or self._context(line, seq)
                if kept is not None:
                    self._say_item(line, kept)
            except BaseException as error:  # of a file, or of the program that gives frames again
                detail = f"frame {seq} cannot be given again, the next of its plane is unjudged: {error!r}"
                _log.error("stream %s: %s", line.stream, detail, exc_info=error)
                line.receiver.fail(DimstreamError(Code.INTERNAL, detail), frames=0, is_final=False)

    def _context(self, line: Line, seq: int) -> Frame | None:
        frame = line.context_of(seq)
        return frame and frame_of(frame, stream=line.stream, seq=seq, request=line.request)

    def _say_item(self, line: Line, item: Item) -> None:
        opened = line.session.opened
        message = item if isinstance(item, (Frame, Skip)) else item.load()
        self.say(message, codec=opened.codec, checksum=opened.checksum == "crc32")
