"""All connections of the streaming endpoint: by routing id, bounded in number and in what each may hold.

It does what a ROUTER socket of libzmq does, and bounds what that does not: libzmq keeps a message of any
number of parts in memory before anybody sees the first of them (docs/decisions/0007-own-zmtp.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import secrets
import socket
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from zmq.utils import z85

from dimstream_server.addresses import split_address
from dimstream_server.endpoints.refusal_log import RefusalLog
from dimstream_server.endpoints.zmq.connection import Connection
from dimstream_server.endpoints.zmq.liveness import PINGS
from dimstream_server.endpoints.zmq.outbox import Outgoing, Part
from dimstream_server.open_file_limit import descriptor_limit

if TYPE_CHECKING:
    from dimstream_server.endpoints.zmq.curve import CurveHandshake

LOOK_S: Final = 1.0
_BACKLOG: Final = 128
_OWN_ID: Final = b"\0"  # how routing ids begin that are made up here
_STOP_POLL_S: Final = 0.005
_PAUSE_S: Final = 0.1
_SEALERS: Final = 2  # threads
Admits = Callable[[str, str], bool]
OnMessage = Callable[[bytes, list[Part], str], "asyncio.Future[None] | None"]
OnDisconnected = Callable[[bytes, str], None]
_log = logging.getLogger(__name__)


class CannotBind(Exception):
    """The endpoint is taken or is none; the text says which."""


class Router:
    """Owns the listening socket and all connections.

    Parameters
    ----------
    max_message_bytes : int
        A peer that announces a larger part is disconnected. Messages larger than their peer's streams allow
        share this much memory, so that they can be refused in words.
    max_connections : int
        Of more, one that holds no stream gives way, the longest silent first.
    silence_s : float
        A peer of which nothing was heard for so long, not even the answer to a ping, is given up.
    secret_key, admits : bytes and callable, optional
        The server's key (Z85), and whether a client may connect by its public key (Z85) and address; neither:
        everybody may, and nothing is encrypted.
    """

    def __init__(
        self,
        *,
        max_message_bytes: int,
        max_connections: int,
        silence_s: float,
        secret_key: bytes | None = None,
        admits: Admits | None = None,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop
        self._max_message_bytes = max_message_bytes
        descriptors = descriptor_limit()
        # A quarter of the process's descriptors at most; files, and the other endpoint, need some, too.
        self._max_connections = (
            max_connections if descriptors is None else min(max_connections, descriptors // 4)
        )
        self._silence_s = silence_s
        self._make_handshake = None if secret_key is None else _handshakes(z85.decode(secret_key))
        self._admits = admits
        self._socket: socket.socket | None = None
        self._path: str | None = None  # of a local socket
        self._accepting: asyncio.Task[None] | None = None
        self._look: asyncio.TimerHandle | None = None
        self._connections: set[Connection] = set()
        self._peers: dict[bytes, Connection] = {}
        self._numbers = itertools.count(secrets.randbits(31))
        self._refusals = RefusalLog("zmq")
        self._is_stopped = False
        self._aside = ThreadPoolExecutor(_SEALERS, thread_name_prefix="dimstream-seal")

    def bind(self, endpoint: str) -> str:
        """The endpoint that was bound, with the port that was picked.

        Raises
        ------
        CannotBind
        """
        scheme, _, rest = endpoint.partition("://")
        try:
            self._socket = _bind_path(rest) if scheme == "ipc" else _bind_address(rest)
            self._socket.listen(_BACKLOG)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise CannotBind(f"cannot bind the ZeroMQ endpoint {endpoint}: {why}") from error
        if scheme == "ipc":
            self._path = None if rest.startswith("@") else rest
            return endpoint
        host, port = self._socket.getsockname()[:2]
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        on_message: OnMessage,
        on_disconnected: OnDisconnected,
        pixel_bytes: Callable[[bytes], int],
    ) -> None:
        """Take connections from now on, on this loop and from its thread.

        Parameters
        ----------
        on_message : callable
            Called with peer, parts and the peer's public key (Z85; empty where nothing is encrypted). When it
            returns a future, the peer's next message waits for that.
        on_disconnected : callable
            Called with a peer whose connection has ended, and why.
        pixel_bytes : callable
            Bytes of pixels that a peer may send in a message; 0 while it has no stream.
        """
        self.loop = loop
        self._on_message, self._on_disconnected, self._pixel_bytes = on_message, on_disconnected, pixel_bytes
        self._accepting = loop.create_task(self._accept())
        self._look_s = min(LOOK_S, self._silence_s / 10)
        self._look = loop.call_later(self._look_s, self._look_after_connections)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for room."""
        return all(connection.is_idle for connection in self._connections)

    def __len__(self) -> int:
        return len(self._connections)

    def address_of(self, peer: bytes) -> str:
        """Where a peer connects from; empty when it is gone."""
        connection = self._peers.get(peer)
        return "" if connection is None else connection.address

    def is_absent(self, peer: bytes) -> bool:
        """Whether a peer is gone, or has left a ping unanswered for a while."""
        connection = self._peers.get(peer)
        return connection is None or connection.liveness.is_absent(self.loop.time(), self._silence_s)

    def send(self, peer: bytes, outgoing: Outgoing) -> None:
        """Send now, or in order as soon as there is room."""
        connection = self._peers.get(peer)
        if connection is not None and not connection.has_ended:
            connection.send(outgoing)
        elif outgoing.lost is not None:
            outgoing.lost()

    def stop(self) -> None:
        """Read no more and take no more connections; what was handed over still goes out."""
        self._is_stopped = True
        for waiting in (self._look, self._accepting):
            if waiting is not None:
                waiting.cancel()
        for connection in tuple(self._connections):
            connection.finish()

    async def flush(self, seconds: float) -> None:
        """Wait until everything has gone out, but not longer than told; then end the connections."""
        until = time.monotonic() + seconds
        while self._connections and time.monotonic() < until:
            for connection in tuple(self._connections):
                connection.finish()
            await asyncio.sleep(_STOP_POLL_S)
        for connection in tuple(self._connections):
            connection.end("the server stops")
        await asyncio.sleep(0)

    def close(self) -> None:
        """End what is left."""
        self._is_stopped = True
        for connection in tuple(self._connections):
            connection.end("the server stops")
        self._aside.shutdown(wait=False, cancel_futures=True)
        if self._socket is not None:
            self._socket.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            self._path = None

    async def _accept(self) -> None:
        """Take connections one by one: asyncio takes all that wait, before anybody can count them."""
        assert self._socket is not None
        self._socket.setblocking(False)
        while True:
            try:
                accepted, _ = await self.loop.sock_accept(self._socket)
                await self._take(accepted)
            except OSError as error:
                self._refusals.tell("accept_failed", "", str(error.strerror))
                await asyncio.sleep(_PAUSE_S)
            except Exception:  # whatever one connection does to it, others are still taken
                _log.exception("cannot take a connection event=internal_error endpoint=zmq")
                await asyncio.sleep(_PAUSE_S)

    async def _take(self, accepted: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(accepted.close)
            if len(self._connections) < self._max_connections or await self._make_room():
                if accepted.family != getattr(socket, "AF_UNIX", None):
                    _keep_alive(accepted, self._silence_s)
                await self.loop.connect_accepted_socket(lambda: Connection(self), accepted)
                stack.pop_all()

    async def _make_room(self) -> bool:
        """End the connection that is silent for longest, of those without a stream."""
        victim = min(self._without_streams(), key=lambda one: one.liveness.heard_at, default=None)
        if victim is None:
            return False
        victim.end(f"expected at most {self._max_connections} connections (zmq.max_connections), got more")
        while victim in self._connections:
            await asyncio.sleep(0)
        return True

    def _look_after_connections(self) -> None:
        now = self.loop.time()
        for connection in tuple(self._connections):
            connection.look(now, silence_s=self._silence_s)
        self._look = self.loop.call_later(self._look_s, self._look_after_connections)

    # --- asked and told by the connections

    def handshake(self) -> CurveHandshake | None:
        """A handshake for another connection; None where nothing is encrypted."""
        return None if self._make_handshake is None else self._make_handshake()

    def made(self, connection: Connection) -> None:
        """Take a connection in."""
        self._connections.add(connection)
        if self._is_stopped:
            connection.end("the server stops")

    def _without_streams(self) -> Iterator[Connection]:
        for one in self._connections:
            if not one.has_ended and not (one.routing_id and self._pixel_bytes(one.routing_id)):
                yield one

    def admits(self, connection: Connection) -> bool:
        """Whether a client may stay, by the key that it has proved to have."""
        try:
            return self._admits is not None and self._admits(connection.key, connection.address)
        except Exception:
            _log.exception("cannot handle a handshake event=internal_error endpoint=zmq")
            return False

    def shaken(self, connection: Connection, chosen: bytes) -> None:
        """Give a connection its routing id."""
        before = self._peers.get(chosen)
        if before is not None and self._make_handshake is not None:
            connection.end("expected a routing id of its own, got another client's")
            return
        if before is not None:
            before.end("its client has come back by another connection")
            self._forget(before, "its client has come back by another connection")
        connection.routing_id = chosen or _OWN_ID + next(self._numbers).to_bytes(8, "big")
        self._peers[connection.routing_id] = connection

    def pixel_bytes(self, connection: Connection) -> int:
        """Bytes of pixels that a message of this peer may carry."""
        return self._pixel_bytes(connection.routing_id)

    def borrow(self, connection: Connection, count: int) -> bool:
        """Whether there is memory for a message that is larger than its peer may send."""
        lent = sum(one.borrowed for one in self._connections if one is not connection)
        if lent + count > self._max_message_bytes:
            return False
        connection.borrowed = count
        return True

    def aside(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Do something long on another thread."""
        return self.loop.run_in_executor(self._aside, work)

    def message(self, connection: Connection, parts: list[Part]) -> asyncio.Future[None] | None:
        """Pass a message on."""
        return self._on_message(connection.routing_id, parts, connection.key)

    def gone(self, connection: Connection, why: str) -> None:
        """Forget a connection."""
        if why != "its client closed it" and not self._is_stopped:
            self._refusals.tell("disconnected", connection.address, why)
        self._connections.discard(connection)
        self._forget(connection, why)

    def _forget(self, connection: Connection, why: str) -> None:
        peer = connection.routing_id
        if peer and self._peers.get(peer) is connection:
            del self._peers[peer]
            self._on_disconnected(peer, why)


def _handshakes(secret_key: bytes) -> Callable[[], CurveHandshake]:
    from dimstream_server.endpoints.zmq.curve import CurveHandshake  # loads libsodium, for who encrypts

    return partial(CurveHandshake, secret_key)


def _keep_alive(accepted: socket.socket, silence_s: float) -> None:
    """Let the kernel find out that a peer is gone: ZMTP 3.0 has no PING that could."""
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    every_s = max(1, round(silence_s / PINGS))
    for name, value in (("TCP_KEEPIDLE", every_s), ("TCP_KEEPINTVL", every_s), ("TCP_KEEPCNT", PINGS - 1)):
        if (option := getattr(socket, name, None)) is not None:
            accepted.setsockopt(socket.IPPROTO_TCP, option, value)


def _bind_address(address: str) -> socket.socket:
    host, port = split_address(address)
    wanted = "0.0.0.0" if host == "*" else host
    found = socket.getaddrinfo(wanted, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(where)
    except OSError:
        bound.close()
        raise
    return bound


def _bind_path(path: str) -> socket.socket:
    """A local socket; what a dead server left at its path is replaced, a living one's is not."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.startswith("@"):
            bound.bind("\0" + path[1:])
            return bound
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
                os.unlink(path)
        bound.bind(path)
    except OSError:
        bound.close()
        raise
    return bound


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(path) == 0
