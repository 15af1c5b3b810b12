"""A server's answers repeated, swapped, cut and changed on their way give the results of a quiet run."""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from dimstream_client import Client, Result
from dimstream_server.server_process import RunningServer

pytestmark = pytest.mark.slow

Parts = list[bytes]
SEEDS = int(os.environ.get("DIMSTREAM_TAMPER_SEEDS", "1"))


class Tampering:
    """Does something to every fourth RESULT or so that comes by."""

    def __init__(self, seed: int) -> None:
        self.misdeeds = 0
        self._rng = random.Random(seed)
        self._held: Parts | None = None

    def __call__(self, parts: Parts) -> list[Parts]:
        held, self._held = self._held, None
        if parts[0] != b"DIM1RESULT" or self._rng.random() > 0.25:
            return [parts] if held is None else [parts, held]
        self.misdeeds += 1
        after = [] if held is None else [held]
        way = self._rng.randrange(5)
        if way == 0:  # it comes after the next
            self._held = parts
            return after
        if way == 1:
            return [parts, parts, *after]
        if way == 2:
            return [[*parts[:2], parts[2][:-2]], *after]
        if way == 3:
            return [[parts[0], parts[1].replace(b'"index":{"t":', b'"index":{"t":1'), *parts[2:]], *after]
        return [[parts[0], parts[1][:-1], *parts[2:]], *after]


@contextmanager
def meddler(endpoint: str, tamper: Tampering) -> Iterator[str]:
    """Stand between one client and a server; gives the endpoint for the client."""
    context = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    for socket in (front, back):
        socket.setsockopt(zmq.LINGER, 0)
    port = front.bind_to_random_port("tcp://127.0.0.1")
    back.connect(endpoint)
    stopped = threading.Event()
    thread = threading.Thread(target=_pass_on, args=(front, back, tamper, stopped))
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        stopped.set()
        thread.join()
        front.close()
        back.close()
        context.term()


def _pass_on(front: Any, back: Any, tamper: Tampering, stopped: threading.Event) -> None:
    poller, peer = zmq.Poller(), b""
    for socket in (front, back):
        poller.register(socket, zmq.POLLIN)
    while not stopped.is_set():
        ready = dict(poller.poll(20))
        if front in ready:
            peer, *parts = front.recv_multipart()
            back.send_multipart(parts)
        if back in ready:
            for parts in tamper(back.recv_multipart()):
                front.send_multipart([peer, *parts])


def _streamed(endpoint: str, movie: NDArray[np.uint16], spool: Path | None) -> list[Result]:
    with Client(endpoint) as client:
        return list(client.stream(movie, spool=spool, window=8, maps=True))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_results_are_those_of_a_quiet_run(
    server: RunningServer, sample: NDArray[np.uint16], tmp_path: Path, seed: int
) -> None:
    movie = sample[:, :96, :96]
    expected = _streamed(server.zmq, movie, None)
    tampering = Tampering(seed)
    with meddler(server.zmq, tampering) as endpoint:
        results = _streamed(endpoint, movie, tmp_path / "spool" if seed % 2 == 0 else None)
    assert tampering.misdeeds > 3
    assert [r.seq for r in results] == list(range(len(movie)))
    for got, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(got.pixels, wanted.pixels)
        np.testing.assert_array_equal(got.support, wanted.support)
        assert (got.flag, got.reason, got.ssim_prev) == (wanted.flag, wanted.reason, wanted.ssim_prev)
    assert not (tmp_path / "spool").exists()
