"""What a gateway adds: the same frames straight to a server, and through a gateway to that server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Final

import numpy as np

from dimstream_client.client import Client
from dimstream_models.bundle import Bundle
from dimstream_server.benchmarks.interleaved import Spread, check_same_pixels, race
from dimstream_server.benchmarks.plan import LAP_FRAMES, make_frames
from dimstream_server.benchmarks.routes import PATIENCE_S, ZmqRoute, warm_up
from dimstream_server.server_process import running_gateway, running_server

DIRECT: Final = "direct"
THROUGH: Final = "gateway"
WINDOWS: Final = (1, 8)


@dataclass(frozen=True, slots=True)
class GatewayFigures:
    """What was measured, of one model.

    Parameters
    ----------
    direct_ms, gateway_ms : Spread
        Latency of single frames.
    added_ms : Spread
        Median latency of a lap through the gateway less that of the direct lap in the same round, one frame
        in flight.
    throughput_ratio : Spread
        Frames per second through the gateway by those of the direct way in the same round, 8 in flight.
    """

    direct_ms: Spread
    gateway_ms: Spread
    added_ms: Spread
    throughput_ratio: Spread


def frames_of(rounds: int) -> int:
    """All frames that `measure_gateway` reports."""
    return rounds * LAP_FRAMES * 2 * len(WINDOWS)


def measure_gateway(
    bundle: Bundle, rounds: int, warm_up_frames: int, device: str, on_frames: Callable[[int], object]
) -> GatewayFigures:
    """Race both ways, with one worker, which the direct way uses as well; neither has a journal on disk.

    Raises
    ------
    ServerProcessError, dimstream_client.errors.DimstreamError, BenchmarkError
    """
    frames = make_frames(LAP_FRAMES)
    with ExitStack() as stack:
        worker = stack.enter_context(running_server(bundle.source, device, ("--state", "memory")))
        gateway = stack.enter_context(running_gateway(bundle.source, (worker.zmq,)))
        clients = {
            name: stack.enter_context(Client(server.zmq, timeout_s=PATIENCE_S, name="bench"))
            for name, server in ((DIRECT, worker), (THROUGH, gateway))
        }
        routes = {
            (name, window): stack.enter_context(
                closing(ZmqRoute(f"{name}_{window}", clients[name], frames[0], window=window))
            )
            for window in WINDOWS
            for name in clients
        }
        check_same_pixels(routes[DIRECT, 1], [routes[THROUGH, 1]], frames[0])
        for name in clients:
            warm_up(routes[name, 8], frames, warm_up_frames)
        laps = race(tuple(routes.values()), frames, rounds, on_frames)
    direct, through = (laps[f"{name}_1"] for name in (DIRECT, THROUGH))
    return GatewayFigures(
        direct_ms=Spread.of(latency for lap in direct for latency in lap.latencies_ms),
        gateway_ms=Spread.of(latency for lap in through for latency in lap.latencies_ms),
        added_ms=Spread.of(
            float(np.median(own.latencies_ms) - np.median(other.latencies_ms))
            for own, other in zip(through, direct, strict=True)
        ),
        throughput_ratio=Spread.of(
            other.interval_ms / own.interval_ms
            for own, other in zip(laps[f"{THROUGH}_8"], laps[f"{DIRECT}_8"], strict=True)
        ),
    )
