"""Peers of bad intent at the streaming endpoint. Each goes on until it is told to stop, over loopback.

An attack is a generator: each step sends a little and says how many bytes were taken, so that whoever
drives it can stop it. A server that hangs up ends it; the driver then begins it again.
"""

from __future__ import annotations

import contextlib
import json
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from types import TracebackType

import zmq

from dimstream_client.keys import CurveKeys
from dimstream_client.messages import Open, Opened, Update
from dimstream_client.wire import decode, encode
from faults.stray import connect

Attack = Callable[[str], Iterator[int]]
SIDE = 64  # of the attackers' own streams
_MIB = 2**20


def empty_parts(endpoint: str) -> Iterator[int]:
    """One message of nothing but empty parts; two bytes each on the wire."""
    yield from _pieces(endpoint, b"\x01\0" * (_MIB // 2))


def large_parts(endpoint: str) -> Iterator[int]:
    """One message of parts of 1 MiB."""
    yield from _pieces(endpoint, _part(bytes(_MIB)))


def parts_as_large_as_allowed(endpoint: str) -> Iterator[int]:
    """As much as one connection can make the server hold, then silence, from 40 connections."""
    with contextlib.ExitStack() as held:
        for _ in range(40):
            plain = held.enter_context(connect(endpoint))
            plain.sendall(_part(bytes(2**17)) * 2 + b"\x01\0" + _part(bytes(2**17)) * 20)
            yield 22 * 2**17


def idle_connections(endpoint: str) -> Iterator[int]:
    """300 connections that shake hands and say nothing, of which the server may end some."""
    with contextlib.ExitStack() as held:
        for _ in range(300):
            held.enter_context(connect(endpoint))
            yield 1
        for _ in range(100):
            time.sleep(0.01)
            yield 0


def huge_pixels(endpoint: str) -> Iterator[int]:
    """The pixels of a frame for which no stream is open."""
    piece = struct.pack(">BQ", 2, 30 * _MIB) + bytes(_MIB)
    with connect(endpoint) as plain:
        plain.sendall(_part(b"DIM1FRAME") + _part(b"{}") + piece)
        for _ in range(29):
            plain.sendall(bytes(_MIB))
            yield _MIB


def small_nonsense(endpoint: str) -> Iterator[int]:
    """Messages that are none, each refused, and nobody reads the refusals."""
    yield from _pieces(endpoint, b"\0\x04NONE" * 1000)


def zlib_without_a_stream(endpoint: str) -> Iterator[int]:
    """FRAMEs of 16 kB that unpack to 16 MiB, for a stream that is not there."""
    header = {"stream": "nobody's", "seq": 0, "shape": [2048, 4096], "dtype": "uint16", "codec": "zlib"}
    payload = zlib.compress(bytes(2**24), 9)
    message = _part(b"DIM1FRAME") + _part(json.dumps(header).encode()) + _part(payload, more=False)
    yield from _pieces(endpoint, message)


def zlib_for_a_stream(endpoint: str) -> Iterator[int]:
    """FRAMEs that unpack to what the stream takes, and are damaged at their end."""
    with _dealer(endpoint) as socket:
        stream = _opened(socket, side=2048)
        header = {"stream": stream, "seq": 0, "shape": [2048, 2048], "dtype": "uint16", "codec": "zlib"}
        payload = zlib.compress(bytes(2 * 2048**2), 9)[:-4] + b"oops"
        while True:
            socket.send_multipart([b"DIM1FRAME", json.dumps(header).encode(), payload])
            socket.recv_multipart()
            yield len(payload)


def updates(endpoint: str) -> Iterator[int]:
    """UPDATEs for a stream of its own, whose answers are read."""
    with _dealer(endpoint) as socket:
        stream = _opened(socket, side=SIDE)
        message = encode(Update(stream, 0, thresholds={"ssim": 0.5}))
        while True:
            for _ in range(500):
                socket.send_multipart(message)
            for _ in range(500):
                socket.recv_multipart()
            yield 500 * sum(map(len, message))


def encrypted_parts(keys: CurveKeys, *, size: int) -> Attack:
    """A message of 200,000 parts, or 200 MiB, by an admitted client of libzmq, all of it in one piece."""
    count = min(200_000, 200 * _MIB // max(size, 1))

    def attack(endpoint: str) -> Iterator[int]:
        with _dealer(endpoint, keys) as socket:
            part = bytes(size)
            for _ in range(count):
                socket.send(part, zmq.SNDMORE)
            socket.send(part)
            socket.poll(1000)
            yield count * size

    return attack


class Flood:
    """Runs an attack again and again on a thread; what it came to is in `bytes` and `hung_up`."""

    def __init__(self, attack: Attack, endpoint: str) -> None:
        self.bytes = self.hung_up = 0
        self.failure: BaseException | None = None
        self._attack, self._endpoint = attack, endpoint
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                with contextlib.suppress(OSError, zmq.Again):
                    for count in self._attack(self._endpoint):
                        self.bytes += count
                        if self._stop.is_set():
                            return
                self.hung_up += 1
                time.sleep(0.01)
        except BaseException as failure:
            self.failure = failure

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure


def _pieces(endpoint: str, piece: bytes) -> Iterator[int]:
    with connect(endpoint) as plain:
        plain.settimeout(1.0)
        while True:
            plain.sendall(piece)
            yield len(piece)


def _part(content: bytes, *, more: bool = True) -> bytes:
    return struct.pack(">BQ", 2 + more, len(content)) + content


@contextlib.contextmanager
def _dealer(endpoint: str, keys: CurveKeys | None = None) -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, 5000)
    if keys is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    try:
        socket.connect(endpoint)
        yield socket
    finally:
        context.destroy(linger=0)


def _opened(socket: zmq.Socket[bytes], *, side: int) -> str:
    socket.send_multipart(encode(Open(client="attacker", shape=(side, side), dtype="uint16")))
    answer = decode(socket.recv_multipart(), max_payload_bytes=0)
    assert isinstance(answer, Opened), answer
    return answer.stream
