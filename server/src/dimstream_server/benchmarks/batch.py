"""Batch work through a server of two devices, next to a loop of ``session.run`` over the same frames."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final

import numpy as np

from dimstream_client.client import Client
from dimstream_client.stream import Stream
from dimstream_models.bundle import Bundle
from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.benchmarks.interleaved import Spread, race
from dimstream_server.benchmarks.plan import SHIPPED_LAP_FRAMES, make_frames
from dimstream_server.benchmarks.routes import PATIENCE_S, BareRoute, Counts, Lap
from dimstream_server.server_process import running_server

STREAMS: Final = 4


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """What was measured of batch work.

    Parameters
    ----------
    devices : tuple of str
        Of the server.
    frame_ms : Spread
        Time per frame through the server, all streams together.
    throughput_ratio : Spread
        Frames per second by those of the loop in the same round, which has all cores for each frame.
    """

    devices: tuple[str, ...]
    frame_ms: Spread
    throughput_ratio: Spread


class BatchRoute:
    """Several batch streams of one client, each with frames in flight, as `dimstream denoise --files` has."""

    name = "batch"

    def __init__(self, client: Client, frame: Counts) -> None:
        shape, dtype = frame.shape, frame.dtype.name
        self._streams = [client.open(shape, dtype, priority="batch") for _ in range(STREAMS)]

    def denoise(self, frame: Counts) -> Counts:
        """One frame's denoised photon counts, (H, W) uint16 like the frame; every stream gets it."""
        for stream in self._streams:
            stream.send(frame)
        denoised = [_taken(stream) for stream in self._streams]
        return denoised[0]

    def lap(self, frames: Sequence[Counts]) -> Lap:
        """Frames (H, W) in turns to all streams, as many in flight as they may have."""
        started = time.perf_counter()
        for n, frame in enumerate(frames):
            self._streams[n % STREAMS].send(frame)
        for n in range(len(frames)):
            _taken(self._streams[n % STREAMS])
        elapsed_ms = (time.perf_counter() - started) * 1e3
        return Lap(elapsed_ms, [elapsed_ms / len(frames)] * len(frames))

    def close(self) -> None:
        """End the streams."""
        for stream in self._streams:
            stream.close()


def measure_batch(
    bundle: Bundle, rounds: int, device: str, on_frames: Callable[[int], object]
) -> BatchFigures:
    """Race batch work with the loop; the server has the device twice where it is the CPU.

    Raises
    ------
    ServerProcessError, dimstream_client.errors.DimstreamError, BenchmarkError
    """
    devices = (device, device) if "cpu" in device else (device,)
    more = [word for each in devices[1:] for word in ("--device", each)]
    frames = make_frames(SHIPPED_LAP_FRAMES)
    with ExitStack() as stack:
        server = stack.enter_context(running_server(bundle.source, device, more))
        client = stack.enter_context(Client(server.zmq, timeout_s=PATIENCE_S))
        batch = stack.enter_context(closing(BatchRoute(client, frames[0])))
        bare = stack.enter_context(closing(BareRoute(bundle, device)))
        laps = race([bare, batch], frames, rounds, on_frames)
    own, loop = (np.asarray([lap.interval_ms for lap in laps[one.name]]) for one in (batch, bare))
    return BatchFigures(devices, Spread.of(own), Spread.of(loop / own))


def _taken(stream: Stream) -> Counts:
    result = stream.take(timeout_s=PATIENCE_S)
    if result is None or result.pixels is None:
        raise BenchmarkError(f"{BatchRoute.name}: a frame was not denoised: {result}")
    return result.pixels
