"""What is measured of one model: start-up and routes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dimstream_client.client import Client
from dimstream_models.bundle import Bundle
from dimstream_server.benchmarks.interleaved import (
    RouteFigures,
    Spread,
    check_same_pixels,
    race,
    route_figures,
)
from dimstream_server.benchmarks.plan import ModelPlan, make_frames
from dimstream_server.benchmarks.routes import (
    PATIENCE_S,
    BareRoute,
    Counts,
    HttpRoute,
    Route,
    ZmqRoute,
    warm_up,
)
from dimstream_server.server_process import RunningServer, running_server

WINDOW: Final = 8
BARE: Final = BareRoute.name
HTTP: Final = HttpRoute.name
ZMQ_1: Final = "zmq_1"
ZMQ_1_CRC32: Final = "zmq_1_crc32"
ZMQ_8: Final = "zmq_8"
ZMQ_8_CRC32: Final = "zmq_8_crc32"
ONE_AT_A_TIME: Final = (BARE, ZMQ_1, ZMQ_1_CRC32, HTTP)
ROUTES: Final = (BARE, ZMQ_1, ZMQ_1_CRC32, ZMQ_8, ZMQ_8_CRC32, HTTP)
WITH_CHECKSUMS: Final = (ZMQ_1_CRC32, ZMQ_8_CRC32)

OnFrames = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """What was measured of one model.

    Parameters
    ----------
    start_up_s : Spread
        From the start of the server's process to its ready file.
    peak_rss_mib : float or None
        Of the server, after all its frames; None where there is no /proc.
    """

    id: str
    sha256: str
    plan: ModelPlan
    start_up_s: Spread
    peak_rss_mib: float | None
    routes: dict[str, RouteFigures]


def frames_of(plan: ModelPlan) -> int:
    """All frames that `measure_model` reports."""
    return plan.rounds * plan.lap_frames * len(_names(plan))


def measure_model(bundle: Bundle, plan: ModelPlan, device: str, on_frames: OnFrames) -> ModelFigures:
    """Start servers, race the routes on the last one.

    Raises
    ------
    BenchmarkError, ServerProcessError, dimstream_server.errors.StartError,
    dimstream_client.errors.DimstreamError
    """
    frames = make_frames(plan.lap_frames)
    start_ups = [_start_up_s(bundle.source, device) for _ in range(plan.starts - 1)]
    with running_server(bundle.source, device) as server:
        with _open_routes(server, bundle, device, frames[0], _names(plan)) as routes:
            check_same_pixels(routes[0], routes[1:], frames[0])
            warm_up(next(route for route in routes if route.name == ZMQ_8), frames, plan.warm_up_frames)
            laps = race(routes, frames, plan.rounds, on_frames)
        peak = server.memory_mib("VmHWM")
    return ModelFigures(
        id=bundle.id,
        sha256=bundle.sha256,
        plan=plan,
        start_up_s=Spread.of([*start_ups, server.start_up_s]),
        peak_rss_mib=peak,
        routes=route_figures(laps, BARE, ONE_AT_A_TIME),
    )


def _names(plan: ModelPlan) -> list[str]:
    return [name for name in ROUTES if plan.checksums or name not in WITH_CHECKSUMS]


def _start_up_s(bundle: Path, device: str) -> float:
    with running_server(bundle, device) as server:
        return server.start_up_s


@contextmanager
def _open_routes(
    server: RunningServer, bundle: Bundle, device: str, frame: Counts, names: list[str]
) -> Iterator[list[Route]]:
    """The routes of these names, which are in the order of `ROUTES`; each ZeroMQ stream on the one client."""
    with ExitStack() as stack:
        client = stack.enter_context(Client(server.zmq, timeout_s=PATIENCE_S, name="bench"))
        makers: dict[str, Callable[[], Route]] = {
            BARE: lambda: BareRoute(bundle, device),
            ZMQ_1: lambda: ZmqRoute(ZMQ_1, client, frame, window=1),
            ZMQ_1_CRC32: lambda: ZmqRoute(ZMQ_1_CRC32, client, frame, window=1, checksum="crc32"),
            ZMQ_8: lambda: ZmqRoute(ZMQ_8, client, frame, window=WINDOW),
            ZMQ_8_CRC32: lambda: ZmqRoute(ZMQ_8_CRC32, client, frame, window=WINDOW, checksum="crc32"),
            HTTP: lambda: HttpRoute(server.http, bundle.id),
        }
        yield [stack.enter_context(closing(makers[name]())) for name in names]
