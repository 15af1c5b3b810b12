"""The server's side of CURVE (ZeroMQ RFC 26) without sockets, on libsodium: handshake, then sealed parts."""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from dimstream_server.endpoints.zmq.zmtp import (
    COMMAND,
    MORE,
    SEALED_OVERHEAD,
    ZmtpError,
    command,
    parse_command,
)

HELLO_BYTES: Final = 200
_MESSAGE: Final = b"\x07MESSAGE"
_KEY: Final = 32
_COOKIE: Final = 96
_VOUCH: Final = 80
_SHORT: Final = 8  # bytes of a nonce that counts


class CurveHandshake:
    """One connection's handshake; then its `seal` and `unseal`.

    Parameters
    ----------
    secret_key : bytes
        The server's long-term secret, 32 bytes.
    """

    def __init__(self, secret_key: bytes) -> None:
        self._secret = secret_key
        self._public = bindings.crypto_scalarmult_base(secret_key)
        self._cookie = b""
        self._shared = b""
        self._sent, self._received = 0, -1  # a client may begin with 0

    def welcome(self, hello: bytes | bytearray) -> bytes:
        """The answer to HELLO.

        Raises
        ------
        ZmtpError
            It is none, or sealed for another server.
        """
        name, data = parse_command(hello)
        if name != b"HELLO" or len(hello) != HELLO_BYTES or data[:2] != b"\x01\x00":
            raise ZmtpError("expected a CURVE HELLO")
        self._client = data[74:106]
        nonce, box = data[106:114], data[114:]
        opened = _opened(b"CurveZMQHELLO---" + nonce, box, self._client, self._secret)
        if opened != bytes(64):
            raise ZmtpError("expected a HELLO for this server's key")
        self._count(nonce)
        transient_public, self._transient = bindings.crypto_box_keypair()
        self._cookie = secrets.token_bytes(_COOKIE)
        long_nonce = secrets.token_bytes(16)
        content = transient_public + self._cookie
        sealed = bindings.crypto_box(content, b"WELCOME-" + long_nonce, self._client, self._secret)
        return command(b"WELCOME", long_nonce + sealed)

    def client_of(self, initiate: bytes | bytearray) -> tuple[bytes, bytes]:
        """The client's long-term public key, and its metadata, of an INITIATE.

        Raises
        ------
        ZmtpError
        """
        name, data = parse_command(initiate)
        if name != b"INITIATE" or not self._cookie:
            raise ZmtpError("expected a CURVE INITIATE")
        if not hmac.compare_digest(data[:_COOKIE], self._cookie):
            raise ZmtpError("expected the cookie of this handshake")
        self._cookie = b""
        nonce, box = data[_COOKIE : _COOKIE + _SHORT], data[_COOKIE + _SHORT :]
        self._count(nonce)
        self._shared = bindings.crypto_box_beforenm(self._client, self._transient)
        content = _opened_shared(b"CurveZMQINITIATE" + nonce, box, self._shared)
        key, vouch_nonce = content[:_KEY], content[_KEY : _KEY + 16]
        vouch = content[_KEY + 16 : _KEY + 16 + _VOUCH]
        if len(vouch) < _VOUCH:
            raise ZmtpError("an INITIATE is cut short")
        vouched = _opened(b"VOUCH---" + vouch_nonce, vouch, key, self._transient)
        if not hmac.compare_digest(vouched, self._client + self._public):
            raise ZmtpError("expected that the client vouches for its own key and this server's")
        return key, content[_KEY + 16 + _VOUCH :]

    def ready(self, properties: bytes) -> bytes:
        """READY, which ends the handshake."""
        nonce = self._next_nonce()
        box = bindings.crypto_box_afternm(properties, b"CurveZMQREADY---" + nonce, self._shared)
        return command(b"READY", nonce + box)

    def seal(self, flags: int, part: bytes | memoryview) -> bytes:
        """The body of a frame that carries a part, encrypted."""
        nonce = self._next_nonce()
        content = bytes((flags & MORE | (2 if flags & COMMAND else 0),)) + part
        box = bindings.crypto_box_easy_afternm(content, b"CurveZMQMESSAGES" + nonce, self._shared)
        return b"".join((_MESSAGE, nonce, box))

    def unseal(self, body: bytes | bytearray | memoryview) -> tuple[int, memoryview]:
        """Flags and content of a sealed part.

        Raises
        ------
        ZmtpError
            It is none, was changed on its way, or came before.
        """
        if body[:_SHORT] != _MESSAGE or len(body) < SEALED_OVERHEAD:
            raise ZmtpError("expected an encrypted part")
        nonce = bytes(body[_SHORT : 2 * _SHORT])
        self._count(nonce)
        box = bytes(memoryview(body)[2 * _SHORT :])
        content = _opened_shared(b"CurveZMQMESSAGEC" + nonce, box, self._shared)
        return content[0] & MORE | (COMMAND if content[0] & 2 else 0), memoryview(content)[1:]

    def _next_nonce(self) -> bytes:
        self._sent += 1
        return self._sent.to_bytes(_SHORT, "big")

    def _count(self, nonce: bytes) -> None:
        """Refuse a nonce that was used before."""
        number = int.from_bytes(nonce, "big")
        if len(nonce) != _SHORT or number <= self._received:
            raise ZmtpError("expected a nonce that only grows")
        self._received = number


def _opened(nonce: bytes, box: bytes, public: bytes, secret: bytes) -> bytes:
    try:
        return bindings.crypto_box_open(box, nonce, public, secret)
    except (CryptoError, ValueError) as error:
        raise ZmtpError(f"cannot decrypt: {error}; the keys do not belong together") from None


def _opened_shared(nonce: bytes, box: bytes, shared: bytes) -> bytes:
    try:
        return bindings.crypto_box_open_easy_afternm(box, nonce, shared)
    except (CryptoError, ValueError) as error:
        raise ZmtpError(f"cannot decrypt: {error}; the keys do not belong together") from None
