"""What a client and its server say to each other: requests and their answers, streams, and their outages.

A connection that is lost ends no stream: every stream is resumed on the next one. Sockets and threads are the
connection's; all here is called on its I/O thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

from dimstream_client.answers import why_not_opened, why_not_result
from dimstream_client.errors import (
    ArgumentError,
    Code,
    ConnectionLost,
    DimstreamError,
    NotAdmitted,
    ProtocolError,
    StreamError,
)
from dimstream_client.lines import Asked, ContextOf, Line, Receiver, fail
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
from dimstream_client.sending import Sender
from dimstream_client.session import MAX_RETRIES, Item, Session
from dimstream_client.wire import decode

_BUSY_S: Final = 0.1  # before a server that was too busy is tried again
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
    expelled : ConnectionLost or None
        Why nothing good can come on this connection any more.
    """

    def __init__(self, endpoint: str, *, outage_s: float, send: Callable[[list[Part]], None]) -> None:
        self.endpoint = endpoint
        self.expelled: ConnectionLost | None = None
        self._lines: dict[str, Line] = {}
        self._asked = PendingRequests()
        self._sender = Sender(send, asked=self._asked, forget=self._forget)
        self._lost = LostStreams(
            endpoint, outage_s=outage_s, lines=self._lines, asked=self._asked, sender=self._sender
        )
        self._garbled = 0  # messages in a row that nobody could read

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

    @property
    def largest_result_bytes(self) -> int:
        """How large a payload may come."""
        return max((line.result_bytes for line in self._lines.values()), default=0)

    # --- from the server

    def handle(self, parts: Sequence[memoryview]) -> None:
        """Take a message; whatever is wrong with it harms no other stream than its own."""
        try:
            message = decode(parts, max_payload_bytes=self.largest_result_bytes)
        except Exception as error:
            if not isinstance(error, ProtocolError):
                error = ProtocolError(Code.INTERNAL, f"it cannot be read: {error!r}")
            self._misunderstood(bytes(parts[0][4:64]).decode("ascii", "replace") if parts else "", error)
            return
        self._garbled = 0
        line = self._lines.get(getattr(message, "stream", None) or "")
        try:
            self._take(message, line)
        except Exception as error:
            self.fault(line, error)

    def _take(self, message: Message, line: Line | None) -> None:
        if isinstance(message, Error):
            self._refused(message, line)
        elif isinstance(message, (Opened, Updated, Closed, Pong)):
            self._answered(message)
        elif line is None or line.is_lost:
            return  # of before it was lost
        elif isinstance(message, Result):
            self._result(line, message)
        elif isinstance(message, Credit):
            why_not = line.session.why_not_limit(message.limit)
            if why_not is not None:
                self._lost.distrust(line, f"CREDIT: {why_not}")
                return
            line.session.credit(message)
            self._sender.pump(line)

    def _result(self, line: Line, result: Result) -> None:
        session, oldest = line.session, line.session.oldest
        if oldest is None or result.seq != oldest.seq:
            expected = "none, as none is owed" if oldest is None else f"that of frame {oldest.seq}"
            why_not: str | None = f"expected {expected}"
        else:
            why_not = session.why_not_limit(result.limit) or why_not_result(
                line.request, oldest.index, result
            )
        if why_not is not None:
            line.receiver.refused += 1
            self._lost.distrust(line, f"RESULT {result.seq}: {why_not}")
            return
        line.damaged = 0
        session.result(result)
        line.receiver.deliver(result)
        self._sender.pump(line)

    def _misunderstood(self, kind: str, error: ProtocolError) -> None:
        """What is damaged is asked for again; what nobody asked for is passed over."""
        line = self._lines.get(error.stream or "")
        asked = self._asked.answered(kind, None if line is None else line.stream)
        if line is not None and (asked is not None or kind == Result.TYPE):
            if asked is not None:
                self._lost.postpone(line, asked)
            if not line.is_lost or asked is not None:
                line.receiver.refused += kind == Result.TYPE
                self._lost.ask_again(line, error)
        elif asked is not None:
            fail(asked.future, error)
        else:
            self._garbage(kind, error)

    def _garbage(self, kind: str, error: ProtocolError) -> None:
        self._garbled += 1
        if self._garbled == 1:
            _log.warning("a message of the server at %s is passed over: %s", self.endpoint, error)
        if not self._lines:  # nobody is harmed when who asks learns of it at once
            self._give_up_requests(error)
        if kind == Result.TYPE:  # one is missing now, of whatever stream
            for line in list(self._lines.values()):
                if line.session.owed and not line.is_lost:
                    self._lost.lose(line, error)
        if self._garbled > MAX_RETRIES:
            self._garbled = 0
            self.expelled = ConnectionLost(f"{self.endpoint} is no dimstream server: {error.detail}")

    def fault(self, line: Line | str | None, error: BaseException) -> None:
        """End one stream because of a fault of this program; the others go on."""
        found = self._lines.get(line) if isinstance(line, str) else line
        _log.error("a fault of the client, stream %s", found and found.stream, exc_info=error)
        if found is not None:
            detail = f"a fault of the client ended stream {found.stream}, please report it: {error!r}"
            self._lost.end(found, DimstreamError(Code.INTERNAL, detail))

    def _refused(self, error: Error, line: Line | None) -> None:
        if error.code == Code.NOT_ADMITTED:  # whatever it was said of: nothing else will be answered
            self.expelled = NotAdmitted(error.detail)
            return
        if line is not None and error.code == Code.UNKNOWN_STREAM:
            self._lost.lose(line, StreamError(error))
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
            self._sender.pump(line)
            return
        asked = self._asked.refused(error.stream)
        if asked is not None:
            if asked.answer == Opened.TYPE and line is not None:
                self._lost.not_resumed(line, StreamError(error))
                return
            fail(asked.future, StreamError(error))
            if asked.answer == Closed.TYPE and line is not None:
                self._forget(line)
            return
        if line is not None:
            line.receiver.fail(StreamError(error), frames=0)
        else:
            _log.warning("the server at %s says of no stream: %s", self.endpoint, error.detail)

    def _answered(self, message: Opened | Updated | Closed | Pong) -> None:
        names_stream = isinstance(message, (Updated, Closed))
        names_stream = names_stream or (isinstance(message, Opened) and message.stream in self._lines)
        stream = message.stream if names_stream and not isinstance(message, Pong) else None
        asked = self._asked.answered(message.TYPE, stream)
        if asked is None:
            return
        wanted = asked.future.set_running_or_notify_cancel()
        if isinstance(message, Opened) and not wanted:
            self._sender.say(Close(message.stream))  # it came too late for who asked
            return
        try:
            if asked.then is not None:
                asked.then(message)
        except Exception as error:
            if not wanted:
                raise
            asked.future.set_exception(error)
            if not isinstance(error, DimstreamError):
                raise
        else:
            if wanted:
                asked.future.set_result(message)

    # --- requests

    def open(
        self, request: Open, receiver: Receiver, context_of: ContextOf | None, future: Future[Opened]
    ) -> None:
        """Ask for a stream."""
        if request.stream in self._lines:
            what = f"stream {request.stream} is open in this client; use that one, or close it first"
            fail(future, ArgumentError(Code.BAD_FIELD, what))
            return
        then = partial(self._opened, request, receiver, context_of)
        self._sender.ask(Asked(request, Opened.TYPE, None, future, then))

    def ask(self, asked: Asked) -> None:
        """Send a request."""
        self._sender.ask(asked)

    def say(self, message: Message) -> None:
        """Send what is not answered."""
        self._sender.say(message)

    def update(self, asked: Asked) -> None:
        """Send an UPDATE now, or when its stream is resumed."""
        line = self._lines.get(asked.stream or "")
        if line is not None and line.is_lost:
            line.unanswered.append(asked)
        else:
            self._sender.ask(asked)

    def _opened(
        self, request: Open, receiver: Receiver, context_of: ContextOf | None, opened: Opened
    ) -> None:
        why_not = why_not_opened(request, opened)
        if why_not is not None:
            self._sender.say(Close(opened.stream))
            raise ProtocolError(Code.BAD_FIELD, f"{self.endpoint} sent what does not fit: {why_not}")
        session = Session(opened, latest=request.mode == "latest")
        line = self._lines[opened.stream] = Line(
            request=request,
            session=session,
            receiver=receiver,
            result_bytes=largest_result_bytes(request),
            acked=opened.next_seq,
            context_of=context_of or (lambda _: None),
        )
        self._sender.send_context(line)

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
        self._sender.pump(line)

    def retry(self) -> None:
        """Try again what a server was too busy for, and to resume what is lost."""
        for line in list(self._lines.values()):
            try:
                if line.session.is_waiting and time.monotonic() >= line.retry_at:
                    line.session.is_waiting = False
                    self._sender.pump(line)
                self._lost.retry(line)
            except Exception as error:
                self.fault(line, error)

    def look_again(self, stream: str) -> None:
        """See whether frames can go: there is room for their results now."""
        line = self._lines.get(stream)
        if line is not None:
            self._sender.pump(line)

    def close_stream(self, stream: str, future: Future[Closed], *, drop: bool) -> None:
        """Send CLOSE once every frame is answered; with `drop` those that were not sent are dropped."""
        line = self._lines.get(stream)
        if line is None:
            fail(future, ConnectionLost(f"stream {stream} ended before it could be closed"))
            return
        if drop:
            line.session.drop_unsent()
        line.closing = future
        self._sender.pump(line)

    def _forget(self, line: Line) -> None:
        self._lines.pop(line.stream, None)
        line.receiver.end()

    # --- a server that is lost, and comes back

    def hang_up(self, error: ConnectionLost) -> None:
        """Take note that the connection is lost, and every stream until it is resumed on the next one."""
        self._give_up_requests(error)
        for line in list(self._lines.values()):
            self._lost.lose(line, error)
        self.expelled = None

    def move(self) -> None:
        """Take note that this connection is left for another, and every stream resumed on that at once."""
        for line in list(self._lines.values()):
            self._lost.lose(
                line, ConnectionLost(f"it moves to another connection to {self.endpoint}"), moves=True
            )
        self.expelled = None

    def ask_again(self) -> None:
        """Send requests again that are about no stream: the connection that they went over was left."""
        for asked in self._asked.of_none():
            self._sender.ask(asked)

    def _give_up_requests(self, error: DimstreamError) -> None:
        """Fail what belongs to no stream."""
        for asked in self._asked.of_none():
            fail(asked.future, error)

    def fail_all(self, error: DimstreamError) -> None:
        """Give everything up."""
        self._give_up_requests(error)
        for line in list(self._lines.values()):
            self._lost.end(line, error)
