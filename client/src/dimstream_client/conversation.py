"""What a client and its server say to each other: requests and their answers, streams, and their outages.

A connection that is lost ends no stream: every stream is resumed on the next one. Sockets and threads are the
connection's; all here is called on its I/O thread.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from dimstream_client.errors import (
    Code,
    ConnectionLost,
    DimstreamError,
    NotAdmitted,
    Problem,
    ProtocolError,
    SpoolError,
    StreamError,
)
from dimstream_client.fields import MAX_WINDOW
from dimstream_client.lines import Asked, ContextOf, Line, Receiver, fail
from dimstream_client.messages import (
    Ack,
    Close,
    Closed,
    Credit,
    Error,
    Frame,
    Message,
    Open,
    Opened,
    Pong,
    Result,
    Skip,
    Updated,
)
from dimstream_client.pixels import Part
from dimstream_client.session import MAX_RETRIES, Item, Session
from dimstream_client.wire import decode, encode

_BUSY_S: Final = 0.1  # before a server that was too busy is tried again
_PAUSE_S: Final = 0.2  # between two connections
_REFUSED_S: Final = 1.0  # before a stream is tried again that could not be resumed yet
_TELL_EVERY_S: Final = 60.0
# Why a stream cannot be resumed yet; it stays as it is until somebody mends that.
_NOT_YET: Final = frozenset(
    {Code.SERVER_BUSY, Code.DRAINING, Code.TOO_MANY_STREAMS, Code.UNKNOWN_MODEL, Code.INTERNAL}
)
_BYTES_PER_PIXEL: Final = 4
_ACK_EVERY: Final = 16  # results, or a window of them
_log = logging.getLogger("dimstream")


class Conversation:
    """Requests and streams of one client, over as many connections as it takes.

    Parameters
    ----------
    endpoint : str
        For messages.
    outage_s : float
        So long streams wait for a server that is lost, before they are given up.
    send : callable
        Sends the parts of a message.

    Attributes
    ----------
    expelled : NotAdmitted or None
        Why the server will answer nothing more on this connection.
    """

    def __init__(self, endpoint: str, *, outage_s: float, send: Callable[[list[Part]], None]) -> None:
        self.endpoint = endpoint
        self.expelled: NotAdmitted | None = None
        self._outage_s = outage_s
        self._send = send
        self._lines: dict[str, Line] = {}
        self._asked: deque[Asked] = deque()

    @property
    def is_owed(self) -> bool:
        """Whether the server owes an answer."""
        return bool(self._asked) or not all(
            line.is_lost or line.session.is_idle for line in self._lines.values()
        )

    @property
    def has_lost(self) -> bool:
        """Whether there are streams that the server does not know at present."""
        return any(line.is_lost for line in self._lines.values())

    # --- from the server

    def handle(self, parts: Sequence[memoryview]) -> None:
        """Take a message."""
        largest = max((line.result_bytes for line in self._lines.values()), default=0)
        try:
            message = decode(parts, max_payload_bytes=largest)
        except ProtocolError as error:
            self._misunderstood(error)
            return
        line = self._lines.get(getattr(message, "stream", None) or "")
        if isinstance(message, Error):
            self._refused(message, line)
        elif isinstance(message, (Opened, Updated, Closed, Pong)):
            self._answered(message)
        elif line is None or line.is_lost:
            return  # of before it was lost
        elif isinstance(message, Result):
            line.damaged = 0
            if line.session.result(message):
                line.receiver.deliver(message)
            self._pump(line)
        elif isinstance(message, Credit):
            line.session.credit(message)
            self._pump(line)

    def _misunderstood(self, error: ProtocolError) -> None:
        """A damaged RESULT is asked for again; anything else comes from no dimstream server."""
        line = self._lines.get(error.stream or "")
        if line is None or error.seq is None:
            self._give_up_requests(error)
            for each in list(self._lines.values()):
                self._lose(each, error)
        elif not line.is_lost:
            line.damaged += 1
            if line.damaged > MAX_RETRIES:
                self._end(line, error)
            else:
                self._lose(line, error)

    def _refused(self, error: Error, line: Line | None) -> None:
        if error.code == Code.NOT_ADMITTED:  # whatever it was said of: nothing else will be answered
            self.expelled = NotAdmitted(error.detail)
            return
        if line is not None and error.code == Code.UNKNOWN_STREAM:
            self._lose(line, StreamError(error))
            return
        if line is not None and error.seq is not None:
            if line.is_lost:
                return
            before = line.session.frames
            refusal = line.session.refused(error)
            if line.session.is_waiting:
                line.retry_at = time.monotonic() + _BUSY_S
            if refusal is not None:
                line.refusals.append((refusal, before - line.session.frames))
            self._pump(line)
            return
        asked = next((a for a in self._asked if a.answer != Pong.TYPE and a.names(error.stream)), None)
        if asked is not None:
            self._asked.remove(asked)
            if asked.answer == Opened.TYPE and line is not None:
                self._not_resumed(line, StreamError(error))
                return
            fail(asked.future, StreamError(error))
            if asked.answer == Closed.TYPE and line is not None:
                self._forget(line)
            return
        for each in [line] if line is not None else list(self._lines.values()):
            each.receiver.fail(StreamError(error), frames=0)

    def _answered(self, message: Opened | Updated | Closed | Pong) -> None:
        names_stream = isinstance(message, (Updated, Closed))
        names_stream = names_stream or (isinstance(message, Opened) and message.stream in self._lines)
        stream = message.stream if names_stream and not isinstance(message, Pong) else None
        asked = next((a for a in self._asked if a.answer == message.TYPE and a.stream == stream), None)
        if asked is None:
            return
        self._asked.remove(asked)
        wanted = asked.future.set_running_or_notify_cancel()
        if isinstance(message, Opened) and not wanted:
            self.say(Close(message.stream))  # it came too late for who asked
            return
        if asked.then is not None:
            asked.then(message)
        if wanted:
            asked.future.set_result(message)

    # --- requests

    def open(
        self, request: Open, receiver: Receiver, context_of: ContextOf | None, future: Future[Opened]
    ) -> None:
        """Ask for a stream."""
        then = partial(self._opened, request, receiver, context_of)
        self.ask(Asked(request, Opened.TYPE, None, future, then))

    def ask(self, asked: Asked) -> None:
        """Send a request."""
        self._asked.append(asked)
        self.say(asked.message)

    def update(self, asked: Asked) -> None:
        """Send an UPDATE now, or when its stream is resumed."""
        line = self._lines.get(asked.stream or "")
        if line is not None and line.is_lost:
            line.unanswered.append(asked)
        else:
            self.ask(asked)

    def _opened(
        self, request: Open, receiver: Receiver, context_of: ContextOf | None, opened: Opened
    ) -> None:
        session = Session(opened, latest=request.mode == "latest")
        line = self._lines[opened.stream] = Line(
            request=request,
            session=session,
            receiver=receiver,
            result_bytes=request.shape[0] * request.shape[1] * _BYTES_PER_PIXEL,
            acked=opened.next_seq,
            context_of=context_of or (lambda _: None),
        )
        self._send_context(line)

    def offer(self, item: Item) -> None:
        """Send a frame or SKIP as soon as there is credit."""
        line = self._lines.get(item.stream)
        if line is None:
            return  # the stream has failed, which its receiver was told
        if line.session.over is not None:
            line.refusals.append((line.session.over, 1))
            line.tell_refusals()
            return
        line.session.offer(item)
        self._pump(line)

    def _pump(self, line: Line | None) -> None:
        """Send what may be sent now; CLOSE when nothing is left."""
        if line is None:
            return
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
            except SpoolError as error:
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

    def _unreadable(self, line: Line, item: Item, error: SpoolError) -> None:
        assert not isinstance(item, Skip)
        line.session.unreadable(item.seq)
        problem = Problem.of(Code.FRAME_FAILED, error.detail, stream=line.stream, seq=item.seq)
        line.refusals.append((StreamError(problem), 1))
        self._pump(line)

    def retry(self) -> None:
        """Try again what a server was too busy for, and to resume what is lost."""
        for line in self._lines.values():
            if line.session.is_waiting and time.monotonic() >= line.retry_at:
                line.session.is_waiting = False
                self._pump(line)
        self._look_after_lost_lines()

    def look_again(self, stream: str) -> None:
        """See whether frames can go: there is room for their results now."""
        self._pump(self._lines.get(stream))

    def close_stream(self, stream: str, future: Future[Closed], *, drop: bool) -> None:
        """Send CLOSE once every frame is answered; with `drop` those that were not sent are dropped."""
        line = self._lines.get(stream)
        if line is None:
            fail(future, ConnectionLost(f"stream {stream} ended before it could be closed"))
            return
        if drop:
            line.session.drop_unsent()
        line.closing = future
        self._pump(line)

    def _forget(self, line: Line) -> None:
        self._lines.pop(line.stream, None)
        line.receiver.end()

    def say(self, message: Message, *, codec: str = "none", checksum: bool = False) -> None:
        """Send a message."""
        self._send(encode(message, codec=codec, checksum=checksum))

    def _say_item(self, line: Line, item: Item) -> None:
        opened = line.session.opened
        message = item if isinstance(item, (Frame, Skip)) else item.load()
        self.say(message, codec=opened.codec, checksum=opened.checksum == "crc32")

    # --- a server that is lost, and comes back

    def hang_up(self, error: ConnectionLost) -> None:
        """Take note that the connection is lost, and every stream until it is resumed on the next one."""
        self._give_up_requests(error)
        for line in list(self._lines.values()):
            self._lose(line, error)
        self.expelled = None

    def _give_up_requests(self, error: DimstreamError) -> None:
        """Fail what belongs to no stream; keep what does for when it is resumed."""
        asked, self._asked = self._asked, deque()
        for each in asked:
            line = self._lines.get(each.stream or "")
            if line is None:
                fail(each.future, error)
            elif each.answer == Updated.TYPE:
                line.unanswered.append(each)
            elif each.answer == Closed.TYPE:
                line.closing = each.future  # CLOSE is sent again once nothing is owed

    def _lose(self, line: Line, error: DimstreamError) -> None:
        """Take note that the server does not know a stream any more."""
        now = time.monotonic()
        if line.lost_since is None:
            line.lost_since = now
        if now - line.lost_since >= self._outage_s:
            self._end(line, error)
            return
        line.resume_at = now + _PAUSE_S
        if now - line.told_at > _TELL_EVERY_S:
            line.told_at = now
            _log.warning("stream %s waits, nothing is lost: %s", line.stream, error)

    def _look_after_lost_lines(self) -> None:
        now = time.monotonic()
        for line in [line for line in self._lines.values() if line.is_lost]:
            if now - (line.lost_since or now) >= self._outage_s:
                detail = f"the server at {self.endpoint} has been away for {self._outage_s:g} s"
                self._end(line, ConnectionLost(f"{detail}; frames in a spool are kept, see Client.resume"))
            elif line.resume_at is not None and now >= line.resume_at:
                line.resume_at = None
                resumed = partial(self._resumed, line)
                self.ask(Asked(line.resumption(), Opened.TYPE, line.stream, Future(), resumed))

    def _resumed(self, line: Line, opened: Opened) -> None:
        if opened.next_seq != line.session.next_result:
            expected = f"expected to go on with result {line.session.next_result}, got {opened.next_seq}"
            self._end(
                line, ConnectionLost(f"{expected}: {self.endpoint} is no dimstream server of this version")
            )
            return
        if line.told_at:
            away_s = time.monotonic() - (line.lost_since or 0)
            _log.warning("stream %s goes on after %.1f s", line.stream, away_s)
        line.lost_since, line.told_at = None, 0.0
        line.session.resumed(opened)
        self._send_context(line)
        for asked in line.unanswered:
            self.ask(asked)
        line.unanswered.clear()
        self._pump(line)

    def _send_context(self, line: Line) -> None:
        """Send again what the server wants to compare the next frames with; it must miss what is not kept."""
        for seq in line.session.opened.context:
            kept = line.session.context(seq) or line.context_of(seq)
            if kept is None:
                continue
            try:
                self._say_item(line, kept)
            except SpoolError as error:
                _log.warning("stream %s: the next frame will be unjudged: %s", line.stream, error)

    def _not_resumed(self, line: Line, error: StreamError) -> None:
        if error.code in _NOT_YET:
            self._lose(line, error)
            if line.is_lost:
                line.resume_at = time.monotonic() + _REFUSED_S
        else:
            self._end(line, error)

    def _end(self, line: Line, error: DimstreamError) -> None:
        """Give a stream up, with all frames that are not answered."""
        line.tell_refusals(wait=False)
        line.receiver.fail(error, frames=line.session.frames, is_final=True)
        for asked in line.unanswered:
            fail(asked.future, error)
        if line.closing is not None:
            fail(line.closing, error)
        self._forget(line)

    def fail_all(self, error: DimstreamError) -> None:
        """Give everything up."""
        self._give_up_requests(error)
        for line in list(self._lines.values()):
            self._end(line, error)
