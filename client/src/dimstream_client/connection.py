"""The I/O thread of a client: only this thread uses the DEALER socket and the protocol.

A socket whose server is silent or gone is replaced by a new one. ZeroMQ's own reconnection is not used,
because it silently drops messages.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final, NamedTuple

import zmq

from dimstream_client.dealer_socket import DealerSocket
from dimstream_client.errors import (
    Code,
    ConnectionLost,
    DimstreamError,
)
from dimstream_client.keys import CurveKeys
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
from dimstream_client.pixels import Part, largest_result_bytes
from dimstream_client.protocol_client import ProtocolClient
from dimstream_client.session import Item
from dimstream_client.stream_channel import PendingRequest, Receiver, ReferenceOf, fail
from dimstream_client.stream_sending import FreshItem
from dimstream_client.wire import encode

_POLL_MS: Final = 100
_PING_SHARE: Final = 0.25  # fraction of the time limit for a silent server, after which it gets a PING
_USUAL_BYTES: Final = 64 * 2**20  # bytes of a part of a message, unless a stream needs more
_SLACK_BYTES: Final = 2**20
_HANG_UP_SHARE: Final = 0.5  # of it passes before a server that breaks off each handshake counts as lost


class _Command(NamedTuple):
    """A task for the I/O thread, and the future that gets its failure."""

    run: Callable[[], None]
    failed: Callable[[DimstreamError], None]


_log = logging.getLogger("dimstream")


class Connection:
    """A DEALER socket and the thread that owns it.

    Parameters
    ----------
    endpoint : str
        ``tcp://HOST:PORT``.
    timeout_s : float
        A server counts as lost when an answer is due and it is silent for this number of seconds.
    outage_s : float
        Seconds that streams wait for a lost server, before they end.
    keys : CurveKeys, optional
        Without keys, nothing is encrypted.

    Raises
    ------
    ConnectionLost
        When the endpoint is not valid.
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
        self._commands: queue.SimpleQueue[_Command] = queue.SimpleQueue()
        self._wake_up_sent = False
        self._ended: ConnectionLost | None = None  # why no more commands are accepted
        self._lock = threading.Lock()  # for the attributes above: no command comes after the end
        self._failure: ConnectionLost | None = None  # of the socket
        self._context = zmq.Context()
        self._wake_up_sender = self._context.socket(zmq.PAIR)
        self._wake_up_receiver = self._context.socket(zmq.PAIR)
        self._wake_up_sender.bind("inproc://wake-up")
        self._wake_up_receiver.connect("inproc://wake-up")
        self._protocol = ProtocolClient(endpoint, outage_s=outage_s, send=self._send)
        self._ping_sent: float | None = None
        self._heard = time.monotonic()
        self._owed_since: float | None = None
        try:
            self._dealer = DealerSocket(self._context, endpoint, keys)
            self._dealer.connect(max_message_bytes=_USUAL_BYTES + _SLACK_BYTES)
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._thread = threading.Thread(target=self._run, name="dimstream-io", daemon=True)
        self._thread.start()

    # --- called from any thread

    def open(
        self, request: Open, receiver: Receiver, *, reference_of: ReferenceOf | None = None
    ) -> Future[Opened]:
        """Send OPEN; from then on, `receiver` gets all events of the stream.

        Parameters
        ----------
        reference_of : callable, optional
            Returns frames that were answered earlier, for a stream that another connection has opened.
        """
        encode(request)
        future: Future[Opened] = Future()
        self._call(lambda: self._open(request, receiver, reference_of, future), partial(fail, future))
        return future

    def update(self, request: Update) -> Future[Updated]:
        """Send UPDATE after the frames that were offered before it."""
        encode(request)
        future: Future[Updated] = Future()
        pending = PendingRequest(request, Updated.TYPE, request.stream, future, None)
        self._call(lambda: self._protocol.update(pending), partial(fail, future))
        return future

    def ping(self) -> Future[Pong]:
        """Send PING."""
        future: Future[Pong] = Future()
        pending = PendingRequest(Ping(time.time()), Pong.TYPE, None, future, None)
        self._call(lambda: self._protocol.ask(pending), partial(fail, future))
        return future

    def offer(self, item: Item) -> None:
        """Send a frame or SKIP as soon as there is credit.

        Raises
        ------
        ProtocolError
            When it cannot be encoded; nothing was sent.
        ConnectionLost
        """
        # Others were encoded when they were written to disk.
        fresh = FreshItem(item, encode(item)) if isinstance(item, (Frame, Skip)) else None
        self._call(lambda: self._protocol.offer(item, fresh), self._ends(item.stream))

    def look_again(self, stream: str) -> None:
        """Send frames that waited for room for their results."""
        with contextlib.suppress(ConnectionLost):
            self._call(lambda: self._protocol.look_again(stream), self._ends(stream))

    def close_stream(self, stream: str, *, drop: bool) -> Future[Closed]:
        """Send CLOSE after every frame is answered; with `drop`, first drop the frames that were not sent."""
        future: Future[Closed] = Future()
        self._call(lambda: self._protocol.close_stream(stream, future, drop=drop), partial(fail, future))
        return future

    def stop(self) -> None:
        """End the thread and close the socket; drop what was not sent."""
        with contextlib.suppress(ConnectionLost):
            self._call(self._stop, lambda error: None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _call(self, run: Callable[[], None], failed: Callable[[DimstreamError], None]) -> None:
        with self._lock:
            if self._ended is not None:
                raise self._ended
            self._commands.put(_Command(run, failed))
            if not self._wake_up_sent:
                self._wake_up_sent = True
                self._wake_up_sender.send(b"")

    def _ends(self, stream: str) -> Callable[[DimstreamError], None]:
        return lambda error: self._protocol.fault(stream, error)

    # --- the I/O thread

    def _run(self) -> None:
        try:
            dealer, poller = self._dealer, self._poller()
            while self._ended is None:
                self._turn(dict(poller.poll(_POLL_MS if self._waits_for_something() else None)))
                if dealer is not self._dealer:
                    dealer, poller = self._dealer, self._poller()
        except BaseException as error:  # no caller may wait forever for this thread
            _log.critical("the client's I/O thread failed, all its streams end", exc_info=error)
            self._end(
                ConnectionLost(f"the client's I/O thread failed, make another and report this: {error!r}")
            )
        finally:
            self._dealer.close()
            self._wake_up_sender.close()
            self._wake_up_receiver.close()
            self._context.term()

    def _turn(self, ready: Mapping[Any, int]) -> None:
        if self._wake_up_receiver in ready:
            self._run_commands()
        if self._dealer.socket in ready:
            self._receive()
        self._note_debts()
        # The monitor is read when it has an event, and after a failure, because it has the reason.
        is_told = self._dealer.monitor in ready or self._failure is not None
        lost = (
            (self._dealer.refusal() if is_told else None)
            or self._protocol.expelled
            or self._failure
            or self._broken()
            or self._silence()
        )
        if lost is not None:
            self._hang_up(lost)
        self._protocol.retry()

    def _end(self, why: ConnectionLost) -> None:
        """Accept no more commands; fail all waiting ones, also those that were not handled yet."""
        with self._lock:
            self._ended = self._ended or why
        self._protocol.fail_all(why)
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            command.failed(why)

    def _open(
        self, request: Open, receiver: Receiver, reference_of: ReferenceOf | None, future: Future[Opened]
    ) -> None:
        """Send a request for a stream, over a connection that accepts results of its size."""
        needed = largest_result_bytes(request) + _SLACK_BYTES
        taken = self._dealer.max_message_bytes
        if taken is not None and taken < needed:
            self._protocol.move()
            self._new_dealer()
            self._dealer.connect(max_message_bytes=needed)
            self._protocol.ask_again()
        self._protocol.open(request, receiver, reference_of, future)

    def _poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        for socket in (self._wake_up_receiver, self._dealer.socket, self._dealer.monitor):
            poller.register(socket, zmq.POLLIN)
        return poller

    def _run_commands(self) -> None:
        self._wake_up_receiver.recv()  # there is one: the next comes only once the mark is taken off
        with self._lock:
            self._wake_up_sent = False
        while self._ended is None:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            try:
                command.run()
            except Exception as error:  # affects only one request or stream
                _log.exception("a fault of the client")
                command.failed(DimstreamError(Code.INTERNAL, f"a fault of the client: {error!r}"))

    def _receive(self) -> None:
        try:
            while self._dealer.has_message:
                parts = self._dealer.receive()
                self._heard = time.monotonic()
                self._protocol.handle(parts)
        except zmq.ZMQError as error:
            self._note_failure(error)

    def _send(self, parts: list[Part]) -> None:
        """Send a message; if the socket fails, its streams are notified when it is replaced."""
        try:
            self._dealer.connect(
                max_message_bytes=max(_USUAL_BYTES, self._protocol.largest_result_bytes) + _SLACK_BYTES
            )
            # One copy of a frame costs less than pyzmq's bookkeeping of a buffer that it borrows.
            self._dealer.socket.send_multipart(parts, zmq.NOBLOCK, copy=True)
        except zmq.Again:
            pass  # a refused socket would block forever; the reason is read next
        except zmq.ZMQError as error:
            self._note_failure(error)
        except ConnectionLost as error:
            self._failure = error

    def _note_failure(self, error: zmq.ZMQError) -> None:
        self._failure = ConnectionLost(f"the socket to {self.endpoint} failed: {error.strerror}")

    # --- silence

    def _waits_for_something(self) -> bool:
        return self._owed_since is not None or self._protocol.has_lost

    def _note_debts(self) -> None:
        """Note since when an answer of the server is due, if one is."""
        if not self._protocol.is_owed:
            self._owed_since = self._ping_sent = None
        elif self._owed_since is None:
            self._owed_since = time.monotonic()

    def _silence(self) -> ConnectionLost | None:
        """Send a PING to a silent server; return the error if it has been silent for too long."""
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
            self._protocol.say(Ping(time.time()))
        return self._dealer.hung_up(for_s=self.timeout_s * _HANG_UP_SHARE)

    def _broken(self) -> ConnectionLost | None:
        if not self._dealer.is_broken:
            return None
        return ConnectionLost(
            f"the connection to the server at {self.endpoint} has ended; "
            "check that the server runs and can be reached, then open the stream again"
        )

    def _hang_up(self, error: ConnectionLost) -> None:
        """Replace the socket by a new one."""
        self._protocol.hang_up(error)
        self._new_dealer()

    def _new_dealer(self) -> None:
        self._dealer.close()
        self._owed_since = self._ping_sent = self._failure = None
        self._dealer = DealerSocket(self._context, self.endpoint, self._keys)

    def _stop(self) -> None:
        self._end(ConnectionLost("the client was closed; open another one"))
