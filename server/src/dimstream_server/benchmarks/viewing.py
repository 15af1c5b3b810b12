"""What viewers cost a stream: the same frames through a server that nobody watches, and one that six watch.

Five viewers read as a browser does, at full size, raw and denoised; one never reads. They are a process of
their own, whose processor time is in the throughput where there is no core left for it.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

from dimstream_client.client import Client
from dimstream_models.bundle import Bundle
from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.benchmarks.interleaved import Laps, Spread, race
from dimstream_server.benchmarks.plan import LAP_FRAMES, make_frames
from dimstream_server.benchmarks.process_time import cpu_s
from dimstream_server.benchmarks.routes import PATIENCE_S, ZmqRoute
from dimstream_server.server_process import running_server

READERS: Final = 5
WINDOW: Final = 8
ALONE: Final = "alone"
WATCHED: Final = "watched"
READY: Final = "watching"


@dataclass(frozen=True, slots=True)
class ViewingFigures:
    """What was measured with one model.

    Parameters
    ----------
    frame_ms : Spread
        Time per frame while nobody watches, 8 in flight.
    throughput_ratio : Spread
        Frames per second while six watch by those while nobody does, in the same round.
    cpu_ratio : float or None
        Processor time of the server that nobody watches by that of the other, of the same frames; None where
        there is no /proc. It holds on a busy machine, too.
    shown : int
        Frames that the viewers got, together.
    """

    frame_ms: Spread
    throughput_ratio: Spread
    cpu_ratio: float | None
    shown: int


def frames_of(rounds: int) -> int:
    """All frames that `measure_viewing` reports."""
    return rounds * LAP_FRAMES * 2


def measure_viewing(
    bundle: Bundle, rounds: int, device: str, on_frames: Callable[[int], object]
) -> ViewingFigures:
    """Race both, each through a server of its own.

    Raises
    ------
    ServerProcessError, dimstream_client.errors.DimstreamError, BenchmarkError
    """
    frames = make_frames(LAP_FRAMES)
    with ExitStack() as stack:
        routes, servers = [], []
        for name in (ALONE, WATCHED):
            server = stack.enter_context(running_server(bundle.source, device, ("--state", "memory")))
            client = stack.enter_context(Client(server.zmq, timeout_s=PATIENCE_S, name="bench"))
            routes.append(stack.enter_context(closing(ZmqRoute(name, client, frames[0], window=WINDOW))))
            servers.append(server)
        routes[1].denoise(frames[0])  # so that there is a stream to watch
        with _viewers(servers[1].http) as shown:
            before = [cpu_s(server.pid) for server in servers]
            laps = race(routes, frames, rounds, on_frames)
            spent = [cpu_s(server.pid) - start for server, start in zip(servers, before, strict=True)]
        return _figures(laps, spent, shown())


def _figures(laps: Laps, cpu_s: list[float], shown: int) -> ViewingFigures:
    alone_s, watched_s = cpu_s
    pairs = zip(laps[ALONE], laps[WATCHED], strict=True)
    return ViewingFigures(
        frame_ms=Spread.of(lap.interval_ms for lap in laps[ALONE]),
        throughput_ratio=Spread.of(alone.interval_ms / watched.interval_ms for alone, watched in pairs),
        cpu_ratio=None if math.isnan(alone_s + watched_s) else alone_s / watched_s,
        shown=shown,
    )


@contextmanager
def _viewers(url: str) -> Iterator[Callable[[], int]]:
    """Viewers of the server at this URL; once they have left, how many frames they got."""
    command = [sys.executable, "-m", "dimstream_server.benchmarks.viewers", url]
    counted: list[int] = []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline().strip() != READY:
                raise BenchmarkError("the viewers could not connect to the live view; see above")
            yield lambda: counted[0]
            out, _ = process.communicate("stop\n", timeout=PATIENCE_S)
            counted.append(int(out))
        finally:
            process.kill()
