"""One connection of the streaming endpoint: bytes to whole messages and back, on an asyncio loop.

Whatever the other side sends, a connection holds one message at a time, and takes nothing more from the
kernel while that message is being dealt with.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from zmq.utils import z85

from dimstream_client.wire import MAX_HEADER_BYTES
from dimstream_server.endpoints.zmq import zmtp
from dimstream_server.endpoints.zmq.liveness import Liveness
from dimstream_server.endpoints.zmq.outbox import ASIDE_BYTES, Aside, Outbox, Outgoing, Part
from dimstream_server.endpoints.zmq.zmtp import (
    COMMAND,
    MAX_HANDSHAKE_BYTES,
    MORE,
    SEALED_OVERHEAD,
    Frame,
    FrameReader,
    Refusal,
    ZmtpError,
)

if TYPE_CHECKING:
    from dimstream_server.endpoints.zmq.curve import CurveHandshake

SMALL_BYTES: Final = 2 * MAX_HEADER_BYTES  # of any part but pixels; what is over its own limit is told so
MAX_PARTS_KEPT: Final = 4
MAX_PARTS: Final = 64
PIXELS: Final = 2  # the part that they are
TURN_S: Final = 0.002  # of one connection, before others have theirs
HANDSHAKE_S: Final = 10.0
NOT_ADMITTED: Final = b"400"  # as ZAP (RFC 27) and libzmq say it
_COMMAND_BYTES: Final = 512
_ROUTER: Final = zmtp.metadata({b"Socket-Type": b"ROUTER", b"Identity": b""})
_log = logging.getLogger(__name__)


class Owner(Aside, Protocol):
    """What a connection asks and reports; all on its loop's thread."""

    def handshake(self) -> CurveHandshake | None:
        """A handshake for another connection; None where nothing is encrypted."""

    def made(self, connection: Connection) -> None:
        """A connection was made; it may be ended at once."""

    def admits(self, connection: Connection) -> bool:
        """Whether the client whose key the handshake has proved may stay."""

    def shaken(self, connection: Connection, chosen: bytes) -> None:
        """The handshake is done; gives the connection its routing id, or ends it."""

    def pixel_bytes(self, connection: Connection) -> int:
        """Bytes of pixels that a message may carry without more ado."""

    def borrow(self, connection: Connection, count: int) -> bool:
        """Whether a message may have `count` bytes more, as an exception, until it was dealt with."""

    def message(self, connection: Connection, parts: list[Part]) -> asyncio.Future[None] | None:
        """A message came whole; with a future, the next one is wanted when that is done."""

    def gone(self, connection: Connection, why: str) -> None:
        """The connection ended."""


class Connection(asyncio.BufferedProtocol):
    """One peer's connection."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._reader = FrameReader(self._admit)
        self._curve = owner.handshake()
        self._step: Callable[[], bool] = self._greet
        self._parts: list[Part] = []
        self._count = 0  # parts of the message that is coming in
        self._outbox = Outbox(owner, self.end)
        self._is_busy = False  # with what came in; nothing more is read meanwhile
        self._is_scheduled = False
        self._why = "its client closed it"
        self.transport: Any = None
        self.address = ""
        self.routing_id = b""
        self.key = ""
        self.borrowed = 0
        self.is_open = False
        self.has_ended = False
        self.made_at = owner.loop.time()
        self.liveness = Liveness(self.made_at)
        self._unsent = 0  # bytes, when last looked at

    # --- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the peer."""
        self.transport = transport
        self._outbox.begin(transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else "a local socket"
        self._owner.made(self)
        if not self.has_ended:
            self.transport.write(zmtp.greeting(zmtp.NULL if self._curve is None else zmtp.CURVE))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has come."""
        self.liveness.hear(self._owner.loop.time())
        self._reader.received(nbytes)
        if not self._is_scheduled:
            self._work()

    def pause_writing(self) -> None:
        """Make no more messages: the peer does not read as fast."""
        self._outbox.pause()

    def resume_writing(self) -> None:
        """Send what waits."""
        self._outbox.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        self.has_ended = True
        self._parts.clear()  # now, and not when Python next looks for objects that refer to each other
        self._reader.clear()
        self.borrowed = 0
        self._owner.gone(self, self._why)
        self._outbox.close()

    # --- called by the owner

    def end(self, why: str) -> None:
        """Hang up at once."""
        if not self.has_ended:
            self._why, self.has_ended = why, True
            self.transport.abort()

    def finish(self) -> None:
        """Read no more; hang up once everything has gone out."""
        self.transport.pause_reading()
        if self.is_idle:
            self.transport.close()

    @property
    def is_idle(self) -> bool:
        """Whether no message waits for room."""
        return self._outbox.is_idle

    def send(self, outgoing: Outgoing) -> None:
        """Send now, or in order as soon as there is room."""
        self._outbox.send(outgoing)

    def look(self, now: float, *, silence_s: float) -> None:
        """Ping a peer that is silent; hang up on one that has been for longer than that."""
        if not self.is_open:
            if now - self.made_at > HANDSHAKE_S:
                self.end(f"its handshake was not done within {HANDSHAKE_S:g} s")
            return
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        self._unsent = unsent
        if self._is_busy or self._is_scheduled or unsent < before:  # who reads is there, too
            self.liveness.hear(now)
        elif why := self.liveness.why_given_up(now, silence_s):
            self.end(why)
        elif self.liveness.wants_ping(now, silence_s) and not self._outbox.is_full:
            self.liveness.pinged(now)
            self._outbox.command(zmtp.command(b"PING", b"\0\0"))

    # --- bytes in

    def _work(self) -> None:
        """Deal with what has come, for one turn."""
        try:
            until = time.perf_counter() + TURN_S
            while time.perf_counter() < until:
                # Never both busy and scheduled: the next turn would read on behind a message that waits.
                if self.has_ended or self._is_busy or not self._step() or self._is_busy:
                    return
        except Refusal as refusal:
            self._send_refusal(refusal)
            return
        except ZmtpError as error:
            self.end(str(error))
            return
        if self.has_ended or self._is_busy:  # the last step may have been a long one
            return
        self._is_scheduled = True
        self.transport.pause_reading()
        self._owner.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_scheduled = False
        if not self.has_ended and not self._is_busy:
            self.transport.resume_reading()
            self._work()

    def _admit(self, flags: int, size: int) -> None:
        """Refuse frames that are too large, by what they announce."""
        if not self.is_open:
            most = MAX_HANDSHAKE_BYTES
        elif flags & COMMAND and self._curve is None:  # RFC 26 calls any encrypted part a command
            most = _COMMAND_BYTES
        elif self._count >= MAX_PARTS:
            raise ZmtpError(f"expected a message of at most {MAX_PARTS} parts, got more")
        else:
            most = SMALL_BYTES + SEALED_OVERHEAD
            if size > most and self._count == PIXELS:
                most = max(most, self._owner.pixel_bytes(self) + SEALED_OVERHEAD)
        if size > most and not (self.is_open and self._count == PIXELS and self._owner.borrow(self, size)):
            raise ZmtpError(f"expected at most {most} bytes here, got {size} announced")

    def _greet(self) -> bool:
        mechanism = zmtp.NULL if self._curve is None else zmtp.CURVE
        zmtp.check_signature(self._reader.waiting(zmtp.SIGNATURE_BYTES))
        start = self._reader.take(zmtp.GREETING_BYTES)
        if start is None:
            return False
        zmtp.check_greeting(start, mechanism)
        self.liveness.answers_pings = zmtp.knows_pings(start)
        self._step = self._ready if self._curve is None else self._hello
        return True

    def _ready(self) -> bool:
        frame = self._handshake_frame()
        if frame is None:
            return False
        name, data = zmtp.parse_command(frame.body)
        if name != b"READY":
            raise ZmtpError("expected READY")
        chosen = zmtp.routing_id_of(zmtp.parse_metadata(data))
        self._outbox.command(zmtp.command(b"READY", _ROUTER))
        self._open(chosen)
        return True

    def _hello(self) -> bool:
        frame = self._handshake_frame()
        if frame is None:
            return False
        assert self._curve is not None
        self._outbox.command(self._curve.welcome(bytes(frame.body)))
        self._step = self._initiate
        return True

    def _initiate(self) -> bool:
        frame = self._handshake_frame()
        if frame is None:
            return False
        assert self._curve is not None
        key, properties = self._curve.client_of(bytes(frame.body))
        self.key = z85.encode(key).decode()
        if not self._owner.admits(self):
            raise Refusal("", NOT_ADMITTED)  # which is in the log already
        chosen = zmtp.routing_id_of(zmtp.parse_metadata(properties))
        self._outbox.command(self._curve.ready(_ROUTER))
        self._open(chosen)
        return True

    def _send_refusal(self, refusal: Refusal) -> None:
        """Refuse a handshake in words; who is told so does not come back with the same."""
        self._why, self._step = str(refusal) or self._why, self._ignore
        self._outbox.command(zmtp.command(b"ERROR", bytes([len(refusal.reason)]) + refusal.reason))
        self.transport.pause_reading()
        self.transport.close()

    def _ignore(self) -> bool:
        return False

    def _handshake_frame(self) -> Frame | None:
        frame = self._reader.next_frame()
        if frame is not None and not frame.flags & COMMAND:
            raise ZmtpError("expected a command of the handshake")
        return frame

    def _open(self, chosen: bytes) -> None:
        self.is_open = True
        self._outbox.curve = self._curve
        self._step = self._receive
        self._owner.shaken(self, chosen)

    def _receive(self) -> bool:
        frame = self._reader.next_frame()
        if frame is None:
            return False
        if self._curve is None:
            self._take(frame.flags, memoryview(frame.body))
        elif len(frame.body) <= ASIDE_BYTES:
            self._take(*self._curve.unseal(frame.body))
        else:
            self._wait_for(self._owner.aside(partial(self._curve.unseal, frame.body)), self._unsealed)
        return True

    def _unsealed(self, unsealed: asyncio.Future[tuple[int, memoryview]]) -> None:
        self._is_busy = False
        if unsealed.cancelled() or self.has_ended:
            return
        try:
            self._take(*unsealed.result())
        except ZmtpError as error:
            self.end(str(error))
            return
        except Exception:
            _log.exception("cannot decrypt a message event=internal_error endpoint=zmq")
            self.end("what it sent could not be decrypted")
            return
        if not self._is_busy:
            self._go_on()

    def _wait_for(self, future: asyncio.Future[Any], then: Callable[[asyncio.Future[Any]], None]) -> None:
        """Read nothing more until that is done."""
        self._is_busy = True
        self.transport.pause_reading()
        future.add_done_callback(then)

    def _take(self, flags: int, part: memoryview) -> None:
        """Take a command, or the next part of a message."""
        if flags & COMMAND:
            self._take_command(part)
            return
        self._count += 1
        if self._count <= MAX_PARTS_KEPT:
            self._parts.append(part)
        if not flags & MORE:
            self._deliver()

    def _take_command(self, body: memoryview) -> None:
        name, data = zmtp.parse_command(bytes(body))
        if name != b"PING":
            return
        self.liveness.promise(self._owner.loop.time(), int.from_bytes(data[:2], "big"))
        if not self._outbox.is_full:
            self._outbox.command(zmtp.command(b"PONG", data[2:18]))

    def _deliver(self) -> None:
        parts, self._parts, self._count = self._parts, [], 0
        wait = self._owner.message(self, parts)
        if wait is None:
            self.borrowed = 0
            return
        self._wait_for(wait, self._dealt_with)

    def _dealt_with(self, _: asyncio.Future[None]) -> None:
        self._is_busy = False
        self.borrowed = 0
        if not self.has_ended:
            self._go_on()
