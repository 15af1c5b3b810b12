"""A ROUTER socket on an asyncio loop: whole messages in, and out with nothing lost in silence.

One thread, the loop's, owns the socket. libzmq's file descriptor is edge-triggered and also fires for what a
send has changed, so every look at the socket goes on until nothing is left. There is no `zmq.asyncio`: it
wraps every message into a future.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import zmq

from dimstream_server.endpoints.zap import Admits, lock

Part = bytes | memoryview
MAX_PARTS = 4
MESSAGES_PER_TURN = 32
RETRY_S = 0.02
MAX_REPLIES_QUEUED = 256
HEARTBEAT_MS = 10_000
_log = logging.getLogger(__name__)


class CannotBind(Exception):
    """The endpoint is taken or is none; the text says which."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that may have to wait for room.

    Parameters
    ----------
    make : callable
        Its parts, made when it is the peer's next, so that a RESULT carries the credit of then.
    sent, lost : callable, optional
        Called once: it was handed to the socket, or never can be, because the peer is gone.
    owed : bool
        Never dropped for want of room. What is not owed (a reply to something a peer may send without end)
        is dropped when the peer does not read.
    """

    make: Callable[[], list[Part]]
    sent: Callable[[], None] | None = None
    lost: Callable[[], None] | None = None
    owed: bool = False


class Router:
    """Owns the socket.

    Parameters
    ----------
    max_message_bytes : int
        A peer that sends a larger part is disconnected by libzmq.
    send_queue, receive_queue : int
        Messages that libzmq keeps for one peer; when the first is full they wait in an outbox here.
    secret_key, admits : bytes and callable, optional
        Only clients whose key is admitted may connect, see `zap.lock`; neither: everybody may.
    """

    def __init__(
        self,
        *,
        max_message_bytes: int,
        send_queue: int,
        receive_queue: int,
        secret_key: bytes | None = None,
        admits: Admits | None = None,
    ) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        for option, value in {
            zmq.ROUTER_MANDATORY: 1,
            # Behind a lock nobody takes over the connection of somebody else, and routing ids are made here.
            zmq.ROUTER_HANDOVER: int(secret_key is None),
            zmq.LINGER: 0,
            zmq.MAXMSGSIZE: max_message_bytes,
            zmq.SNDHWM: send_queue,
            zmq.RCVHWM: receive_queue,
            # Peers that vanish without a word are forgotten, so that a later send finds them unreachable.
            zmq.HEARTBEAT_IVL: HEARTBEAT_MS,
            zmq.HEARTBEAT_TIMEOUT: 3 * HEARTBEAT_MS,
        }.items():
            self._socket.setsockopt(option, value)
        self._is_locked = secret_key is not None and admits is not None
        if secret_key is not None and admits is not None:
            lock(self._socket, self._context, secret_key=secret_key, admits=admits)
        self._outboxes: dict[bytes, deque[Outgoing]] = {}
        # The first of each outbox, made: to make it again for each try would cost a checksum each time.
        self._made: dict[bytes, list[Part]] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, endpoint: str) -> str:
        """The endpoint that was bound, with the port that was picked.

        Raises
        ------
        CannotBind
        """
        self._socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            raise CannotBind(f"cannot bind the ZeroMQ endpoint {endpoint}: {error.strerror}") from error
        return bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def start(
        self, loop: asyncio.AbstractEventLoop, on_message: Callable[[bytes, list[Part], str], None]
    ) -> None:
        """Call `on_message(peer, parts, key)` for whatever comes, on this loop and from its thread.

        `key` is the peer's public key (Z85); empty without a lock.
        """
        self._loop = loop
        self._on_message = on_message
        loop.add_reader(self._number(zmq.FD), self._receive)
        loop.call_soon(self._receive)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for room."""
        return not self._outboxes

    def send(self, peer: bytes, outgoing: Outgoing) -> None:
        """Send now, or in order as soon as there is room."""
        waiting = self._outboxes.get(peer)
        if waiting is not None:
            if outgoing.owed or len(waiting) < MAX_REPLIES_QUEUED:
                waiting.append(outgoing)
            return
        if self._try(peer, outgoing) == "full":
            self._outboxes[peer] = deque([outgoing])
            self._retry_later()
        self._look_again()

    def stop(self) -> None:
        """Read no more; what was handed over still goes out."""
        if self._retry is not None:
            self._retry.cancel()
        if self._loop is not None:
            self._loop.remove_reader(self._number(zmq.FD))

    def close(self, *, flush_s: float) -> None:
        """Close once everything has gone out, or after `flush_s` seconds; blocks until then."""
        self._socket.close(linger=int(flush_s * 1000))
        self._context.term()

    def _number(self, option: int) -> int:
        return int(self._socket.getsockopt(option))

    def _receive(self) -> None:
        for _ in range(MESSAGES_PER_TURN):
            received = self._receive_parts()
            if received is None:
                break
            self._on_message(*received)
        self._flush()
        self._look_again()

    def _look_again(self) -> None:
        assert self._loop is not None
        if not self._socket.closed and self._number(zmq.EVENTS) & zmq.POLLIN:
            self._loop.call_soon(self._receive)

    def _receive_parts(self) -> tuple[bytes, list[Part], str] | None:
        if self._socket.closed:
            return None
        try:
            part = self._socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        peer = part.bytes
        key = str(part.get("User-Id")) if self._is_locked else ""
        parts: list[Part] = []
        while part.more:  # the parts of a message come together
            part = self._socket.recv(zmq.NOBLOCK, copy=False)
            if len(parts) < MAX_PARTS:
                parts.append(part.buffer)
        return peer, parts, key

    def _flush(self) -> None:
        for peer, waiting in list(self._outboxes.items()):
            while waiting and self._try(peer, waiting[0]) != "full":
                waiting.popleft()
            if not waiting:
                self._outboxes.pop(peer, None)
        if self._outboxes:
            self._retry_later()

    def _retry_later(self) -> None:
        assert self._loop is not None
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._loop.call_later(RETRY_S, self._flush)

    def _try(self, peer: bytes, outgoing: Outgoing) -> Literal["sent", "full", "gone"]:
        try:
            parts = self._made.pop(peer, None) or outgoing.make()
        except Exception:
            _log.exception("cannot encode a message event=internal_error door=zmq")
            self._lost(outgoing)
            return "gone"
        try:
            # Only the first part can be refused: MANDATORY looks for the peer and its room there.
            self._socket.send(peer, zmq.NOBLOCK | zmq.SNDMORE)
        except zmq.Again:
            self._made[peer] = parts
            return "full"
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._lost(outgoing)
            return "gone"
        self._socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        if outgoing.sent is not None:
            outgoing.sent()
        return "sent"

    def _lost(self, outgoing: Outgoing) -> None:
        if outgoing.lost is not None:
            outgoing.lost()
