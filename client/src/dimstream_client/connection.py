"""The I/O thread of a client: it alone owns the DEALER socket and the sessions of its streams.

A connection that is lost ends no stream: a new socket is connected, and every stream is resumed on it.
ZeroMQ's own reconnection is not relied on, as it drops what was on its way without a word.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final

import zmq

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
from dimstream_client.keys import CurveKeys
from dimstream_client.lines import Asked, ContextOf, Line, Receiver, fail
from dimstream_client.link import Link
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
    Ping,
    Pong,
    Result,
    Skip,
    Update,
    Updated,
)
from dimstream_client.session import MAX_RETRIES, Item, Session
from dimstream_client.wire import decode, encode

_POLL_MS: Final = 100
_PING_SHARE: Final = 0.25  # of the patience with a silent server passes before it is asked
_HANG_UP_SHARE: Final = 0.5  # of it passes before a server that hangs up on each handshake is given up
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


class Connection:
    """A DEALER socket and the thread that owns it.

    Parameters
    ----------
    endpoint : str
        ``tcp://HOST:PORT``.
    timeout_s : float
        A server that owes an answer and is silent for so long is taken for lost.
    outage_s : float
        So long streams wait for a server that is lost, before they are given up.
    keys : CurveKeys, optional
        Without them nothing is encrypted.

    Raises
    ------
    ConnectionLost
        The endpoint is none.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        timeout_s: float,
        outage_s: float = math.inf,
        keys: CurveKeys | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._keys = keys
        self._outage_s = outage_s
        self.timeout_s = timeout_s
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._woken = False
        self._stopping = False
        self._wake_lock = threading.Lock()
        self._context = zmq.Context()
        self._bell_in = self._context.socket(zmq.PAIR)
        self._bell_out = self._context.socket(zmq.PAIR)
        self._bell_in.bind("inproc://bell")
        self._bell_out.connect("inproc://bell")
        self._lines: dict[str, Line] = {}
        self._asked: deque[Asked] = deque()
        self._ping_sent: float | None = None
        self._heard = time.monotonic()
        self._owed_since: float | None = None
        self._expelled: NotAdmitted | None = None
        try:
            self._link = Link(self._context, endpoint, keys)
            self._link.connect()
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._thread = threading.Thread(target=self._run, name="dimstream-io", daemon=True)
        self._thread.start()

    # --- called from any thread

    def open(
        self, request: Open, receiver: Receiver, *, context_of: ContextOf | None = None
    ) -> Future[Opened]:
        """Send OPEN; what happens on the stream goes to `receiver` from then on.

        Parameters
        ----------
        context_of : callable, optional
            Gives frames that were answered before, of a stream that another connection has opened.
        """
        future: Future[Opened] = Future()
        then = partial(self._opened, request, receiver, context_of)
        self._call(lambda: self._ask(Asked(request, Opened.TYPE, None, future, then)))
        return future

    def update(self, request: Update) -> Future[Updated]:
        """Send UPDATE, behind the frames that were offered before it."""
        future: Future[Updated] = Future()
        self._call(lambda: self._update(Asked(request, Updated.TYPE, request.stream, future, None)))
        return future

    def ping(self) -> Future[Pong]:
        """Send PING."""
        future: Future[Pong] = Future()
        self._call(lambda: self._ask(Asked(Ping(time.time()), Pong.TYPE, None, future, None)))
        return future

    def offer(self, item: Item) -> None:
        """Send a frame or SKIP as soon as there is credit."""
        self._call(lambda: self._offer(item))

    def look_again(self, stream: str) -> None:
        """See whether frames can go: there is room for their results now."""
        if not self._stopping:
            self._call(lambda: self._pump(self._lines.get(stream)))

    def close_stream(self, stream: str, *, drop: bool) -> Future[Closed]:
        """Send CLOSE once every frame is answered; with `drop` those that were not sent are dropped."""
        future: Future[Closed] = Future()
        self._call(lambda: self._close_stream(stream, future, drop=drop))
        return future

    def stop(self) -> None:
        """End the thread and close the socket; what was not sent is dropped."""
        if self._thread.is_alive() and not self._stopping:
            self._call(self._stop)
        self._thread.join()

    def _call(self, command: Callable[[], None]) -> None:
        if self._stopping:
            raise ConnectionLost("the client was closed; make another")
        self._commands.put(command)
        if not self._woken:
            self._woken = True
            with self._wake_lock:
                if not self._bell_in.closed:
                    self._bell_in.send(b"")

    # --- the I/O thread

    def _run(self) -> None:
        poller = self._poller()
        try:
            while not self._stopping:
                ready = dict(poller.poll(_POLL_MS if self._waits_for_something() else None))
                if self._bell_out in ready:
                    self._obey()
                if self._link.socket in ready:
                    self._receive()
                self._retry()
                self._note_debts()
                lost = self._link.refusal() or self._expelled or self._broken() or self._silence()
                if lost is not None:
                    self._hang_up(lost)
                    poller = self._poller()
                self._look_after_lost_lines()
        except Exception as error:  # nobody may wait for this thread in vain
            self._fail_all(DimstreamError(Code.INTERNAL, f"the client's I/O thread failed: {error!r}"))
            raise
        finally:
            self._stopping = True
            self._link.close()
            with self._wake_lock:  # a bell without its other end would hold who rings it for ever
                self._bell_in.close()
                self._bell_out.close()
            self._context.term()

    def _poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        for socket in (self._bell_out, self._link.socket, self._link.monitor):
            poller.register(socket, zmq.POLLIN)
        return poller

    def _obey(self) -> None:
        while self._bell_out.poll(0):
            self._bell_out.recv()
        self._woken = False
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            command()

    def _receive(self) -> None:
        while True:
            try:
                parts = self._link.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._heard = time.monotonic()
            self._handle([part.buffer for part in parts])

    def _handle(self, parts: Sequence[memoryview]) -> None:
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
            self._expelled = NotAdmitted(error.detail)
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
        if isinstance(message, Pong):
            self._ping_sent = None
        if asked is None:
            return
        self._asked.remove(asked)
        wanted = asked.future.set_running_or_notify_cancel()
        if isinstance(message, Opened) and not wanted:
            self._say(Close(message.stream))  # it came too late for who asked
            return
        if asked.then is not None:
            asked.then(message)
        if wanted:
            asked.future.set_result(message)

    # --- requests

    def _ask(self, asked: Asked) -> None:
        self._asked.append(asked)
        self._note_debts()
        self._say(asked.message)

    def _update(self, asked: Asked) -> None:
        line = self._lines.get(asked.stream or "")
        if line is not None and line.is_lost:
            line.unanswered.append(asked)
        else:
            self._ask(asked)

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

    def _offer(self, item: Item) -> None:
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
            self._say(Ack(line.stream, line.acked))
        if line.closing is not None and session.is_idle:
            future, line.closing = line.closing, None
            close = Close(line.stream, session.last_seq)
            self._ask(Asked(close, Closed.TYPE, line.stream, future, lambda _: self._forget(line)))

    def _unreadable(self, line: Line, item: Item, error: SpoolError) -> None:
        assert not isinstance(item, Skip)
        line.session.unreadable(item.seq)
        problem = Problem.of(Code.FRAME_FAILED, error.detail, stream=line.stream, seq=item.seq)
        line.refusals.append((StreamError(problem), 1))
        self._pump(line)

    def _retry(self) -> None:
        for line in self._lines.values():
            if line.session.is_waiting and time.monotonic() >= line.retry_at:
                line.session.is_waiting = False
                self._pump(line)

    def _close_stream(self, stream: str, future: Future[Closed], *, drop: bool) -> None:
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

    def _say(self, message: Message, *, codec: str = "none", checksum: bool = False) -> None:
        self._link.connect()
        parts = encode(message, codec=codec, checksum=checksum)
        # A refused socket has no way out and would block for ever; why it was refused is asked next.
        with contextlib.suppress(zmq.Again):
            # One copy of a frame costs less than pyzmq's bookkeeping of a buffer that it borrows.
            self._link.socket.send_multipart(parts, zmq.NOBLOCK, copy=True)

    def _say_item(self, line: Line, item: Item) -> None:
        opened = line.session.opened
        message = item if isinstance(item, (Frame, Skip)) else item.load()
        self._say(message, codec=opened.codec, checksum=opened.checksum == "crc32")

    # --- silence

    def _waits_for_something(self) -> bool:
        return self._owed_since is not None or any(line.is_lost for line in self._lines.values())

    def _note_debts(self) -> None:
        """Remember since when the server owes an answer, if it does."""
        owes = bool(self._asked) or not all(
            line.is_lost or line.session.is_idle for line in self._lines.values()
        )
        if not owes:
            self._owed_since = self._ping_sent = None
        elif self._owed_since is None:
            self._owed_since = time.monotonic()

    def _silence(self) -> ConnectionLost | None:
        """Ask a silent server whether it is there; return what it has been silent for too long means."""
        if self._owed_since is None:
            return None
        now = time.monotonic()
        silent_s = now - max(self._heard, self._owed_since)
        if silent_s > self.timeout_s:
            return ConnectionLost(
                f"the server at {self.endpoint} owes an answer and has been silent for {self.timeout_s:g} s; "
                "check that it runs and can be reached, then open the stream again"
            )
        if silent_s > self.timeout_s * _PING_SHARE and self._ping_sent is None:
            self._ping_sent = now
            self._say(Ping(time.time()))
        return self._link.hung_up(for_s=self.timeout_s * _HANG_UP_SHARE)

    def _broken(self) -> ConnectionLost | None:
        if not self._link.is_broken:
            return None
        return ConnectionLost(
            f"the connection to the server at {self.endpoint} has ended; "
            "check that the server runs and can be reached, then open the stream again"
        )

    # --- a server that is lost, and comes back

    def _hang_up(self, error: ConnectionLost) -> None:
        """Give up the old socket; every stream is lost until it is resumed on the new one."""
        self._link.close()
        self._give_up_requests(error)
        for line in list(self._lines.values()):
            self._lose(line, error)
        self._owed_since = self._ping_sent = self._expelled = None
        self._link = Link(self._context, self.endpoint, self._keys)

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
                self._ask(Asked(line.resumption(), Opened.TYPE, line.stream, Future(), resumed))

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
            self._ask(asked)
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

    def _fail_all(self, error: DimstreamError) -> None:
        self._give_up_requests(error)
        for line in list(self._lines.values()):
            self._end(line, error)

    def _stop(self) -> None:
        self._stopping = True
        self._fail_all(ConnectionLost("the client was closed"))
