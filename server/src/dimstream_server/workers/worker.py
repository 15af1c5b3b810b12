"""One worker of a gateway: its connection, whether it is alive, its models, and its streams."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import zmq

from dimstream_client.dealer_socket import DealerSocket
from dimstream_client.errors import ConnectionLost
from dimstream_client.keys import CurveKeys
from dimstream_client.messages import Error, Message, Opened, Ping, Pong
from dimstream_client.wire import decode, encode

PING_SHARE: Final = 0.25  # share of the time limit for silence after which it is pinged
AGAIN_S: Final = 0.5  # time before a lost worker is tried again
_log = logging.getLogger(__name__)
Answer = Callable[[Opened | Error], None]


class StreamThere(Protocol):
    """A stream's contribution to the load of its worker."""

    sent: int
    """Number of its frames at the worker."""

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""


class Link(NamedTuple):
    """Settings of all connections to workers.

    Parameters
    ----------
    largest_bytes : int
        Largest part of a message; a larger one ends the connection.
    silence_s : float
        A worker that sends nothing for this time is lost.
    """

    context: zmq.Context[zmq.Socket[bytes]]
    keys: CurveKeys | None
    largest_bytes: int
    silence_s: float


class Worker:
    """One worker. Only the gateway's thread may use it.

    Attributes
    ----------
    is_up : bool
        Whether it has answered on this connection.
    is_leaving : bool
        Whether it accepts no more streams, because it is stopping or was removed.
    models : dict
        Ids of the models that it is known to serve, and their SHA-256.
    placed : set
        Its streams, including those that are being opened.
    trouble : str or None
        Why it cannot be used.
    answered : int
        Frames that it has answered.
    device : str or None
        Device of the last frame that it has answered; None if unknown.
    """

    def __init__(self, address: str, link: Link) -> None:
        self.address = address
        self._link = link
        self.is_up = False
        self.is_leaving = False
        self.models: dict[str, str] = {}
        self.placed: set[StreamThere] = set()
        self.trouble: str | None = "it has not answered yet"
        self.probed_at = 0.0
        self.answered = 0
        self.device: str | None = None
        self._asked: deque[Answer] = deque()
        self._dealer: DealerSocket | None = None
        self._heard = self._pinged = self._tried_at = 0.0

    # --- the connection

    @property
    def sockets(self) -> tuple[Any, ...]:
        """Sockets to poll."""
        return () if self._dealer is None else (self._dealer.socket, self._dealer.monitor)

    def look(self, now: float) -> str | None:
        """Connect if there is no connection, and ping if it is silent; return why the worker is lost, if it
        is."""
        if self._dealer is None:
            if now - self._tried_at >= AGAIN_S:
                return self._connect(now)
            return None
        refusal = self._dealer.refusal()
        if refusal is not None:
            return refusal.detail
        if self._dealer.is_broken:
            return "its connection has ended"
        silent_s = now - self._heard
        if silent_s > self._link.silence_s:
            return f"it sent nothing for {self._link.silence_s:g} s"
        if silent_s > self._link.silence_s * PING_SHARE and self._pinged <= self._heard:
            self._ping(now)
        return None

    def _connect(self, now: float) -> str | None:
        self._tried_at = self._heard = now
        self._dealer = DealerSocket(self._link.context, self.address, self._link.keys)
        try:
            self._dealer.connect(max_message_bytes=self._link.largest_bytes)
        except ConnectionLost as error:
            return error.detail
        self._ping(now)
        return None

    def _ping(self, now: float) -> None:
        self._pinged = now
        self.say(Ping(time.time()))

    def hang_up(self, now: float) -> None:
        """Close the connection, and drop all pending requests."""
        if self._dealer is not None:
            self._dealer.close()
        self._dealer, self._tried_at = None, now
        self.is_up = self.is_leaving = False
        self.device = None  # it may come back with another one
        self.models.clear()
        self._asked.clear()

    def lacks(self, model: str, why: str) -> None:
        """Record that it does not serve a model."""
        self.models.pop(model, None)
        trouble = f"it cannot have streams of {model}: {why}"
        if self.trouble != trouble:
            _log.warning(
                "a worker lacks a model event=worker_lacks worker=%s model=%s reason=%r",
                self.address,
                model,
                why,
            )
        self.trouble = trouble

    # --- messages

    def say(self, message: Message) -> None:
        """Send a message; if this fails, the worker is lost."""
        if self._dealer is None:
            return
        try:
            # Copying a frame is cheaper than pyzmq's bookkeeping of a borrowed buffer.
            self._dealer.socket.send_multipart(encode(message), zmq.NOBLOCK, copy=True)
        except zmq.ZMQError as error:
            _log.warning("cannot send event=worker_socket worker=%s reason=%s", self.address, error.strerror)

    def ask(self, message: Message, answer: Answer) -> None:
        """Send an OPEN; answers arrive in order."""
        self._asked.append(answer)
        self.say(message)

    def receive(self, now: float) -> Message | None:
        """Return the next message that is not the answer to an OPEN or a ping; None if there is none.

        Raises
        ------
        dimstream_client.errors.DimstreamError
            When it is not valid.
        """
        while self._dealer is not None:
            try:
                parts = self._dealer.receive()
            except zmq.ZMQError:  # zmq.Again, or a socket error, which `look` detects
                return None
            self._heard = now
            message = decode(parts, max_payload_bytes=self._link.largest_bytes)
            if isinstance(message, Opened) or (isinstance(message, Error) and message.stream is None):
                if self._asked:
                    self._asked.popleft()(message)
            elif not isinstance(message, Pong):
                return message
            elif not self.is_up:
                self.is_up, self.trouble = True, None
        return None
