"""What goes out by one connection: whole messages in order, encrypted, and made only when there is room."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from dimstream_server.endpoints.zmq.zmtp import COMMAND, MORE, head_of

if TYPE_CHECKING:
    from dimstream_server.endpoints.zmq.curve import CurveHandshake

Part = bytes | memoryview
MAX_REPLIES_QUEUED: Final = 256
ASIDE_BYTES: Final = 1_048_576  # more than that is encrypted and decrypted on another thread
_JOINED_BYTES: Final = 16_384  # of a part that is written together with its neighbours
_SEND_AHEAD: Final = 262_144  # bytes that may wait in the transport before the next message is made
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that may have to wait for room.

    Parameters
    ----------
    make : callable
        Its parts, made when it is the peer's next, so that a RESULT carries the credit of then.
    sent, lost : callable, optional
        Called once: it was handed to the connection, or never can be, because the peer is gone.
    owed : bool
        Never dropped for want of room. What is not owed (a reply to something a peer may send without end)
        is dropped when the peer does not read.
    """

    make: Callable[[], Sequence[Part]]
    sent: Callable[[], None] | None = None
    lost: Callable[[], None] | None = None
    owed: bool = False


class Aside(Protocol):
    """Who has a loop, and threads for what takes long."""

    loop: asyncio.AbstractEventLoop

    def aside(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Do something long on another thread."""


class Outbox:
    """Of one connection; all on its loop's thread.

    Parameters
    ----------
    end : callable
        Hangs up, and says why.
    """

    def __init__(self, owner: Aside, end: Callable[[str], None]) -> None:
        self.transport: Any = None
        self.curve: CurveHandshake | None = None  # once its handshake is done
        self._owner = owner
        self._end = end
        self._waiting: deque[Outgoing] = deque()
        self._cannot_write = False
        self._is_sealing = False  # what goes out next; nothing else may go before it
        self._has_ended = False

    def begin(self, transport: Any) -> None:
        """Send by this transport from now on."""
        self.transport = transport
        transport.set_write_buffer_limits(high=_SEND_AHEAD)

    @property
    def is_idle(self) -> bool:
        """Whether no message waits for room."""
        return not self._waiting and not self._is_sealing

    @property
    def is_full(self) -> bool:
        """Whether whatever is sent now has to wait."""
        sealing, unsent = self._is_sealing, self.transport.get_write_buffer_size()
        return self._cannot_write or sealing or unsent > _SEND_AHEAD

    def pause(self) -> None:
        """Make no more messages: the peer does not read as fast."""
        self._cannot_write = True

    def resume(self) -> None:
        """Send what waits."""
        self._cannot_write = False
        self._flush()

    def close(self) -> None:
        """Nothing goes out any more."""
        self._has_ended = True
        waiting, self._waiting = self._waiting, deque()
        for outgoing in waiting:
            _call(outgoing.lost)

    def send(self, outgoing: Outgoing) -> None:
        """Send now, or in order as soon as there is room."""
        if self._waiting or self.is_full:
            if outgoing.owed or len(self._waiting) < MAX_REPLIES_QUEUED:
                self._waiting.append(outgoing)
                self._owner.loop.call_soon(self._flush)
            return
        self._transmit(outgoing)

    def command(self, body: bytes) -> None:
        """Send a command, where it is not full; after the handshake a sealed one, where it is encrypted."""
        if self.curve is None:
            self._write([(COMMAND, body)])
        else:
            self._write(self._sealed([(COMMAND, body)]))

    def _flush(self) -> None:
        while self._waiting and not self._has_ended and not self.is_full:
            self._transmit(self._waiting.popleft())
        if self._has_ended or not self._waiting or self._is_sealing:
            return
        if not self._cannot_write:  # the transport has not said that it is full, so it will not call
            self._owner.loop.call_soon(self._flush)

    def _transmit(self, outgoing: Outgoing) -> None:
        try:
            parts = outgoing.make()
        except Exception:
            _log.exception("cannot encode a message event=internal_error endpoint=zmq")
            _call(outgoing.lost)
            return
        last = len(parts) - 1
        frames = [(MORE if number < last else 0, part) for number, part in enumerate(parts)]
        if self.curve is not None and sum(map(len, parts)) > ASIDE_BYTES:
            self._is_sealing = True
            sealed = self._owner.aside(partial(self._sealed, frames))
            sealed.add_done_callback(partial(self._send_sealed, outgoing))
            return
        self._write(self._sealed(frames))
        _call(outgoing.sent)

    def _send_sealed(self, outgoing: Outgoing, sealed: asyncio.Future[list[tuple[int, Part]]]) -> None:
        self._is_sealing = False
        if sealed.cancelled() or sealed.exception() or self._has_ended:
            _call(outgoing.lost)
            if not sealed.cancelled() and (error := sealed.exception()):
                _log.error("cannot encrypt a message event=internal_error endpoint=zmq", exc_info=error)
                self._end("a message to it could not be encrypted")
            return
        self._write(sealed.result())
        _call(outgoing.sent)
        self._flush()

    def _sealed(self, frames: list[tuple[int, Part]]) -> list[tuple[int, Part]]:
        """Flags and bodies of frames as they go out."""
        curve = self.curve
        if curve is None:
            return frames
        return [(0, curve.seal(flags, part)) for flags, part in frames]  # inside are the true flags

    def _write(self, frames: list[tuple[int, Part]]) -> None:
        joined = bytearray()
        for flags, part in frames:
            joined += head_of(flags, len(part))
            if len(part) <= _JOINED_BYTES:
                joined += part
            else:
                self.transport.write(bytes(joined))
                self.transport.write(part)
                joined.clear()
        if joined:
            self.transport.write(bytes(joined))


def _call(what: Callable[[], None] | None) -> None:
    if what is not None:
        what()
