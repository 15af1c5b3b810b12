"""The I/O thread of a client: it alone owns the DEALER socket and what is said over it.

A socket whose server is silent or gone is given up for a new one. ZeroMQ's own reconnection is not relied on,
as it drops what was on its way without a word.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

import zmq

from dimstream_client.conversation import Conversation
from dimstream_client.errors import (
    Code,
    ConnectionLost,
    DimstreamError,
)
from dimstream_client.keys import CurveKeys
from dimstream_client.lines import Asked, ContextOf, Receiver
from dimstream_client.link import Link
from dimstream_client.messages import (
    Closed,
    Frame,
    Open,
    Opened,
    Ping,
    Pong,
    Skip,
    Update,
    Updated,
)
from dimstream_client.pixels import Part
from dimstream_client.session import Item
from dimstream_client.wire import encode

_POLL_MS: Final = 100
_PING_SHARE: Final = 0.25  # of the patience with a silent server passes before it is asked
_HANG_UP_SHARE: Final = 0.5  # of it passes before a server that hangs up on each handshake is given up


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
        self._conversation = Conversation(endpoint, outage_s=outage_s, send=self._send)
        self._ping_sent: float | None = None
        self._heard = time.monotonic()
        self._owed_since: float | None = None
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
        encode(request)
        future: Future[Opened] = Future()
        self._call(lambda: self._conversation.open(request, receiver, context_of, future))
        return future

    def update(self, request: Update) -> Future[Updated]:
        """Send UPDATE, behind the frames that were offered before it."""
        encode(request)
        future: Future[Updated] = Future()
        asked = Asked(request, Updated.TYPE, request.stream, future, None)
        self._call(lambda: self._conversation.update(asked))
        return future

    def ping(self) -> Future[Pong]:
        """Send PING."""
        future: Future[Pong] = Future()
        asked = Asked(Ping(time.time()), Pong.TYPE, None, future, None)
        self._call(lambda: self._conversation.ask(asked))
        return future

    def offer(self, item: Item) -> None:
        """Send a frame or SKIP as soon as there is credit.

        Raises
        ------
        ProtocolError
            It cannot be encoded; nothing was sent.
        ConnectionLost
        """
        if isinstance(item, (Frame, Skip)):  # others were encoded when they were written to disk
            encode(item)
        self._call(lambda: self._conversation.offer(item))

    def look_again(self, stream: str) -> None:
        """See whether frames can go: there is room for their results now."""
        if not self._stopping:
            self._call(lambda: self._conversation.look_again(stream))

    def close_stream(self, stream: str, *, drop: bool) -> Future[Closed]:
        """Send CLOSE once every frame is answered; with `drop` those that were not sent are dropped."""
        future: Future[Closed] = Future()
        self._call(lambda: self._conversation.close_stream(stream, future, drop=drop))
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
                self._note_debts()
                lost = (
                    self._link.refusal() or self._conversation.expelled or self._broken() or self._silence()
                )
                if lost is not None:
                    self._hang_up(lost)
                    poller = self._poller()
                self._conversation.retry()
        except Exception as error:  # nobody may wait for this thread in vain
            self._conversation.fail_all(
                DimstreamError(Code.INTERNAL, f"the client's I/O thread failed: {error!r}")
            )
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
            self._conversation.handle([part.buffer for part in parts])

    def _send(self, parts: list[Part]) -> None:
        self._link.connect()
        # A refused socket has no way out and would block for ever; why it was refused is asked next.
        with contextlib.suppress(zmq.Again):
            # One copy of a frame costs less than pyzmq's bookkeeping of a buffer that it borrows.
            self._link.socket.send_multipart(parts, zmq.NOBLOCK, copy=True)

    # --- silence

    def _waits_for_something(self) -> bool:
        return self._owed_since is not None or self._conversation.has_lost

    def _note_debts(self) -> None:
        """Remember since when the server owes an answer, if it does."""
        if not self._conversation.is_owed:
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
        if silent_s > self.timeout_s * _PING_SHARE and (self._ping_sent or 0) <= self._heard:
            self._ping_sent = now
            self._conversation.say(Ping(time.time()))
        return self._link.hung_up(for_s=self.timeout_s * _HANG_UP_SHARE)

    def _broken(self) -> ConnectionLost | None:
        if not self._link.is_broken:
            return None
        return ConnectionLost(
            f"the connection to the server at {self.endpoint} has ended; "
            "check that the server runs and can be reached, then open the stream again"
        )

    def _hang_up(self, error: ConnectionLost) -> None:
        """Give up the old socket for a new one."""
        self._link.close()
        self._conversation.hang_up(error)
        self._owed_since = self._ping_sent = None
        self._link = Link(self._context, self.endpoint, self._keys)

    def _stop(self) -> None:
        self._stopping = True
        self._conversation.fail_all(ConnectionLost("the client was closed"))
