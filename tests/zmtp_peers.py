"""Clients of ZMTP and CURVE on raw sockets, written from RFC 23, 26 and 37; they can be told to be wrong."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

from nacl import bindings
from zmq.utils import z85

from dimstream_client.keys import CurveKeys

TIMEOUT_S = 60
DEALER: Mapping[bytes, bytes] = {b"Socket-Type": b"DEALER"}
MORE, LONG, COMMAND = 1, 2, 4


def metadata(properties: Mapping[bytes, bytes]) -> bytes:
    """Properties as READY and INITIATE carry them."""
    return b"".join(
        bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
        for name, value in properties.items()
    )


class CurveClient:
    """A client's side of the handshake; each step can be told to be wrong."""

    def __init__(self, server_public: bytes, *, first_nonce: int = 1) -> None:
        self.server = server_public
        self.public, self.secret = bindings.crypto_box_keypair()
        self.transient, self._transient_secret = bindings.crypto_box_keypair()
        self.nonce = first_nonce - 1

    @classmethod
    def of(cls, keys: CurveKeys, *, first_nonce: int = 1) -> CurveClient:
        """A client with these long-term keys."""
        client = cls(z85.decode(keys.server), first_nonce=first_nonce)
        client.public, client.secret = z85.decode(keys.public), z85.decode(keys.secret)
        return client

    def short_nonce(self) -> bytes:
        self.nonce += 1
        return self.nonce.to_bytes(8, "big")

    def hello(self) -> bytes:
        nonce = self.short_nonce()
        box = bindings.crypto_box(bytes(64), b"CurveZMQHELLO---" + nonce, self.server, self._transient_secret)
        return b"\x05HELLO\x01\0" + bytes(72) + self.transient + nonce + box

    def welcome(self, body: bytes) -> None:
        assert body[:8] == b"\x07WELCOME"
        content = bindings.crypto_box_open(
            body[24:], b"WELCOME-" + body[8:24], self.server, self._transient_secret
        )
        self.server_transient, self.cookie = content[:32], content[32:]
        self.shared = bindings.crypto_box_beforenm(self.server_transient, self._transient_secret)

    def initiate(
        self,
        *,
        secret: bytes | None = None,
        server: bytes | None = None,
        properties: Mapping[bytes, bytes] = DEALER,
    ) -> bytes:
        vouch_nonce = bytes(16)
        vouch = bindings.crypto_box(
            self.transient + (server or self.server),
            b"VOUCH---" + vouch_nonce,
            self.server_transient,
            secret or self.secret,
        )
        content = self.public + vouch_nonce + vouch + metadata(properties)
        nonce = self.short_nonce()
        box = bindings.crypto_box_afternm(content, b"CurveZMQINITIATE" + nonce, self.shared)
        return b"\x08INITIATE" + self.cookie + nonce + box

    def part(self, flags: int, content: bytes) -> bytes:
        nonce = self.short_nonce()
        box = bindings.crypto_box_afternm(bytes([flags]) + content, b"CurveZMQMESSAGEC" + nonce, self.shared)
        return b"\x07MESSAGE" + nonce + box

    def opened(self, body: bytes) -> tuple[int, bytes]:
        """Flags and content of a part from the server."""
        assert body[:8] == b"\x07MESSAGE"
        content = bindings.crypto_box_open_afternm(body[16:], b"CurveZMQMESSAGES" + body[8:16], self.shared)
        return content[0], content[1:]


class RawPeer:
    """A connection whose every byte the test chooses."""

    def __init__(self, endpoint: str) -> None:
        host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def greet(self, *, minor: int = 1, mechanism: bytes = b"NULL") -> bytes:
        """Exchange greetings; the server's."""
        self.socket.sendall(b"\xff" + bytes(8) + b"\x7f\x03" + bytes([minor]) + mechanism.ljust(52, b"\0"))
        return self.exactly(64)

    def shake(self, *, minor: int = 1, properties: Mapping[bytes, bytes] = DEALER) -> bytes:
        """Greet and say READY without keys; the command that comes back."""
        self.greet(minor=minor)
        self.command(b"\x05READY" + metadata(properties))
        flags, body = self.frame()
        assert flags & COMMAND
        return body

    def command(self, body: bytes) -> None:
        self.socket.sendall(struct.pack(">BQ", COMMAND | LONG, len(body)) + body)

    def message(self, *parts: bytes) -> None:
        for number, part in enumerate(parts):
            more = MORE if number < len(parts) - 1 else 0
            self.socket.sendall(struct.pack(">BQ", more | LONG, len(part)) + part)

    def frame(self) -> tuple[int, bytes]:
        """Flags (without LONG) and body of the next frame."""
        (flags,) = self.exactly(1)
        (size,) = struct.unpack(">Q", self.exactly(8)) if flags & LONG else self.exactly(1)
        return flags & ~LONG, self.exactly(size)

    def exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = self.socket.recv(count - len(found))
            if not piece:
                raise EOFError(f"the server hung up after {found!r}")
            found += piece
        return found

    def hung_up(self, *, within_s: float = TIMEOUT_S) -> bool:
        """Whether the server hangs up by then; what it says until then is passed over."""
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(65_536):
                pass
        except TimeoutError:
            return False
        except ConnectionResetError:
            pass
        return True
