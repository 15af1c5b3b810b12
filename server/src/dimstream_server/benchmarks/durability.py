"""What it costs that nothing is lost: the same frames without and with a journal, a spool, a recording."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from dimstream_client.client import Client
from dimstream_models.bundle import Bundle
from dimstream_server.benchmarks.interleaved import Laps, Spread, race
from dimstream_server.benchmarks.plan import LAP_FRAMES, make_frames
from dimstream_server.benchmarks.routes import PATIENCE_S, Route, ZmqRoute, warm_up
from dimstream_server.server_process import running_server

PLAIN: Final = "plain"
DURABLE: Final = "durable"
SPOOLED: Final = "spooled"
RECORDED: Final = "recorded"
KINDS: Final = (PLAIN, DURABLE, SPOOLED, RECORDED)
"""No journal on disk; the journal, frames kept in memory; those in a spool on disk as well; the journal and
a recording."""
WINDOWS: Final = (1, 8)


@dataclass(frozen=True, slots=True)
class DurabilityFigures:
    """What was measured of one way.

    Parameters
    ----------
    frame_ms : Spread
        Time per frame with 8 in flight.
    throughput_ratio : Spread
        Frames per second by those of the plain way in the same round, 8 in flight.
    added_ms : Spread
        Median latency of a lap, one frame in flight, less that of the plain way in the same round.
    """

    frame_ms: Spread
    throughput_ratio: Spread
    added_ms: Spread


def frames_of(rounds: int) -> int:
    """All frames that `measure_durability` reports."""
    return rounds * LAP_FRAMES * len(KINDS) * len(WINDOWS)


def measure_durability(
    bundle: Bundle, rounds: int, warm_up_frames: int, device: str, on_frames: Callable[[int], object]
) -> dict[str, DurabilityFigures]:
    """Race the ways, each through a server of its own kind, which gets `warm_up_frames` before.

    Raises
    ------
    ServerProcessError, dimstream_client.errors.DimstreamError, BenchmarkError
    """
    frames = make_frames(LAP_FRAMES)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keeping = ("--state", str(scratch / "state"), "--record", str(scratch / "recordings"))
        servers = {
            PLAIN: stack.enter_context(running_server(bundle.source, device, ("--state", "memory"))),
            DURABLE: stack.enter_context(running_server(bundle.source, device, keeping)),
        }
        clients = {
            kind: stack.enter_context(Client(server.zmq, timeout_s=PATIENCE_S, name="bench"))
            for kind, server in servers.items()
        }
        routes: list[Route] = []
        for window in WINDOWS:
            for kind in KINDS:
                route = ZmqRoute(
                    _name(kind, window),
                    clients[PLAIN if kind == PLAIN else DURABLE],
                    frames[0],
                    window=window,
                    spool=scratch / _name(kind, window) if kind == SPOOLED else None,
                    save=kind == RECORDED,
                )
                routes.append(stack.enter_context(closing(route)))
        for settled in (one for one in routes if one.name in (_name(PLAIN, 8), _name(DURABLE, 8))):
            warm_up(settled, frames, warm_up_frames)
        laps = race(routes, frames, rounds, on_frames)
    return {kind: _figures(kind, laps) for kind in KINDS}


def _name(kind: str, window: int) -> str:
    return f"{kind}_{window}"


def _figures(kind: str, laps: Laps) -> DurabilityFigures:
    (single, many), (plain_single, plain_many) = (
        [laps[_name(one, window)] for window in WINDOWS] for one in (kind, PLAIN)
    )
    return DurabilityFigures(
        frame_ms=Spread.of(lap.interval_ms for lap in many),
        throughput_ratio=Spread.of(
            plain.interval_ms / own.interval_ms for own, plain in zip(many, plain_many, strict=True)
        ),
        added_ms=Spread.of(
            float(np.median(own.latencies_ms) - np.median(plain.latencies_ms))
            for own, plain in zip(single, plain_single, strict=True)
        ),
    )
