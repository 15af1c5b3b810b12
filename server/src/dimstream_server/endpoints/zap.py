"""Who passes the handshake of a locked ROUTER: a handler of the ZeroMQ authentication protocol (ZAP, RFC 27).

pyzmq's `ThreadAuthenticator` would do; but it runs an event loop of its own for one request at a time, and
writes each key into the log.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

import zmq
from zmq.utils import z85

DOMAIN: Final = b"dimstream"
_ENDPOINT: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"
_PARTS: Final = 7  # version, request id, domain, address, routing id, mechanism, one credential
Admits = Callable[[str, str], bool]
_log = logging.getLogger(__name__)


def lock(
    socket: zmq.Socket[bytes], context: zmq.Context[zmq.Socket[bytes]], *, secret_key: bytes, admits: Admits
) -> None:
    """Let only clients connect to a socket that encrypt, and whose public key is admitted.

    Each frame that is received then says the sender's key, as ``User-Id``. The handler's thread ends with the
    context.

    Parameters
    ----------
    socket : zmq.Socket
        Not bound yet.
    secret_key : bytes
        The server's, Z85.
    admits : callable
        Whether a client is admitted, by its public key (Z85) and its address; called on a thread of its own.
    """
    handler = context.socket(zmq.REP)
    handler.setsockopt(zmq.LINGER, 0)
    handler.bind(_ENDPOINT)
    threading.Thread(target=_serve, args=(handler, admits), name="zap", daemon=True).start()
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, secret_key)
    socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without a handler nobody comes in, instead of everybody


def _serve(handler: zmq.Socket[bytes], admits: Admits) -> None:
    try:
        while True:
            handler.send_multipart(_answer(handler.recv_multipart(), admits))
    except zmq.ContextTerminated:
        pass
    finally:
        handler.close()


def _answer(request: list[bytes], admits: Admits) -> list[bytes]:
    request_id = request[1] if len(request) > 1 else b""
    if len(request) != _PARTS or request[0] != _VERSION or request[5] != b"CURVE":
        return [_VERSION, request_id, b"500", b"expected a request about CURVE", b"", b""]
    key = z85.encode(request[6])
    try:
        admitted = admits(key.decode(), request[3].decode("ascii", "replace"))
    except Exception:  # without this thread nobody would come in again
        _log.exception("cannot judge a handshake event=internal_error door=zmq")
        admitted = False
    if not admitted:
        return [_VERSION, request_id, b"400", b"this key is not admitted", b"", b""]
    return [_VERSION, request_id, b"200", b"OK", key, b""]
