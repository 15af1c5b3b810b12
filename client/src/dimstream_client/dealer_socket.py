"""The DEALER socket of a connection, and what its handshakes with the server came to.

ZeroMQ is silent about a handshake that fails; only its monitor tells. Without asking that, a client whose key
is not admitted would wait until its time limit, and then blame the network.
"""

from __future__ import annotations

import time
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from dimstream_client.errors import ConnectionLost, NotAdmitted
from dimstream_client.keys import CurveKeys
from dimstream_client.pixels import Part

_WATCHED: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_READABLE: Final = int(zmq.POLLIN)  # pyzmq's own is an enum, which is slow to reckon with
_OTHER_MECHANISM: Final = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
_HEADER_PARTS: Final = 2  # type and header; pixels and map are behind them
_RECEIVED: Final = 1_024  # messages that wait here; the server keeps the others
_AGAIN_S: Final = 2.0  # ZeroMQ tries again several times a second; after so long the server is just not there


class DealerSocket:
    """A DEALER socket that may not be connected yet; whoever owns it is one thread.

    Parameters
    ----------
    context : zmq.Context
    endpoint : str
        ``tcp://HOST:PORT``.
    keys : CurveKeys, optional
        Without them nothing is encrypted.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, keys: CurveKeys | None
    ) -> None:
        self.endpoint = endpoint
        self._keys = keys
        self.max_message_bytes: int | None = None  # None: not connected yet
        self._shaken = False
        self._broken = False
        self._hung_up_since: float | None = None
        self._hung_up_at = 0.0
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, 0)  # credit bounds it
        self.socket.setsockopt(zmq.RCVHWM, _RECEIVED)
        self.socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        if keys is not None:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        self.monitor = self.socket.get_monitor_socket(_WATCHED)

    def connect(self, *, max_message_bytes: int) -> None:
        """Connect, unless that was done; a larger part of a message ends the connection.

        Raises
        ------
        ConnectionLost
            The endpoint is none.
        """
        if self.max_message_bytes is not None:
            return
        self.socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
        try:
            self.socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            raise ConnectionLost(
                f"cannot connect to {self.endpoint!r} ({error.strerror}); expected tcp://HOST:PORT"
            ) from error
        self.max_message_bytes = max_message_bytes

    @property
    def has_message(self) -> bool:
        """Whether a message has come whole; to ask costs less than to be refused one.

        Raises
        ------
        zmq.ZMQError
            The socket has failed.
        """
        return bool(int(self.socket.getsockopt(zmq.EVENTS)) & _READABLE)

    def receive(self) -> list[Part]:
        """Return the parts of the next message; those of pixels are not copied, type and header are.

        pyzmq's bookkeeping of a buffer that it lends costs more than a copy of a few hundred bytes.

        Raises
        ------
        zmq.Again
            None has come.
        """
        parts: list[Part] = [self.socket.recv(zmq.NOBLOCK)]
        while self.socket.getsockopt(zmq.RCVMORE):
            is_header = len(parts) < _HEADER_PARTS
            parts.append(self.socket.recv() if is_header else self.socket.recv(copy=False).buffer)
        return parts

    def close(self) -> None:
        """Close the socket; what was not sent is dropped."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close()

    def refusal(self) -> NotAdmitted | None:
        """Return why the server does not talk to this client, where it is certain."""
        refusal = None
        while int(self.monitor.getsockopt(zmq.EVENTS)) & _READABLE:
            event = parse_monitor_message(self.monitor.recv_multipart())
            refusal = self._take_event(event["event"], event["value"]) or refusal
        return refusal

    @property
    def is_broken(self) -> bool:
        """Whether the connection ended; ZeroMQ makes another, but what was on its way is lost."""
        return self._broken

    def hung_up(self, *, for_s: float) -> NotAdmitted | None:
        """Return what a server means that has hung up on every handshake of the last `for_s` seconds.

        It does so when it cannot decrypt what it gets; but so does a tunnel that leads nowhere.
        """
        now, since = time.monotonic(), self._hung_up_since
        if self._keys is None or since is None or now - since < for_s or now - self._hung_up_at > _AGAIN_S:
            return None
        return NotAdmitted(
            f"the server at {self.endpoint} hangs up during the handshake; expected that the server key is "
            "this server's: take the server.pub that it was started with (or its tunnel leads nowhere)"
        )

    def _take_event(self, event: int, value: int) -> NotAdmitted | None:
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self._hung_up_at = time.monotonic()
            self._hung_up_since = self._hung_up_since or self._hung_up_at
            return None
        if event == zmq.EVENT_DISCONNECTED:  # a failed handshake ends so, too
            self._broken = self._broken or self._shaken
            return None
        self._hung_up_since = None
        self._shaken = self._shaken or event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return NotAdmitted(
                f"the server at {self.endpoint} does not know this key; put the .pub that belongs to it "
                "among the server's allowed_clients"
            )
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == _OTHER_MECHANISM:
            return self._other_mechanism()
        return None

    def _other_mechanism(self) -> NotAdmitted:
        if self._keys is None:
            return NotAdmitted(
                f"the server at {self.endpoint} expects keys and got none; give key and server_key "
                "(--key, --server-key); `dimstream keygen FOLDER` makes a key"
            )
        return NotAdmitted(
            f"the server at {self.endpoint} does not take keys and got one; leave out key and server_key, "
            "or start the server with server_secret_key"
        )
