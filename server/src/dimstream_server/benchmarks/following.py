"""What a live analysis costs a stream, and how fast it is: the same frames unanalysed, and analysed.

`dimstream-analyse follow` runs beside its server, once for each segmenter, and is halted while it is not its
turn. The frames show the ER: how long an analysis takes depends on what there is.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

import numpy as np

from dimstream_client.client import Client
from dimstream_client.files import open_images
from dimstream_models.bundle import Bundle, read_attachment, read_bundle
from dimstream_models.shipped import shipped_bundle
from dimstream_server.benchmarks.follower import CAN_HALT, Follower, running_follower
from dimstream_server.benchmarks.interleaved import Laps, Spread, race
from dimstream_server.benchmarks.plan import LAP_FRAMES, SHAPE
from dimstream_server.benchmarks.process_time import cpu_s
from dimstream_server.benchmarks.routes import PATIENCE_S, Counts, Lap, ZmqRoute
from dimstream_server.server_process import RunningServer, running_server

WINDOW: Final = 8
ALONE: Final = "alone"
CLASSICAL: Final = "classical"
NETWORK: Final = "network"
MOVIE: Final = "sample/movie.ome.tif"


@dataclass(frozen=True, slots=True)
class FollowedFigures:
    """What was measured with one segmenter.

    Parameters
    ----------
    throughput_ratio : Spread
        Frames per second while frames are analysed by those while none is, in the same round.
    analysed_per_s : float
        Frames of which figures came, per second of the laps.
    analysis_cpu_s : float or None
        Processor time of the analysis for each such frame; None where there was none, or no /proc.
    server_cpu_ratio : float or None
        Processor time of the server that nobody follows by that of this one, of the same frames; None where
        there is no /proc.
    """

    throughput_ratio: Spread
    analysed_per_s: float
    analysis_cpu_s: float | None
    server_cpu_ratio: float | None


@dataclass(frozen=True, slots=True)
class FollowingFigures:
    """What was measured with one model.

    Parameters
    ----------
    frame_ms : Spread
        Time per frame while nothing is analysed, 8 in flight.
    followed : dict
        By segmenter.
    """

    frame_ms: Spread
    followed: dict[str, FollowedFigures]


def what_lacks() -> str | None:
    """Why this cannot be measured here; None where it can."""
    if not CAN_HALT:
        return "this system cannot halt a process, as SIGSTOP does, while it is not its turn"
    if not find_spec("skimage") or not find_spec("networkx"):
        return 'the analysis is not installed: pip install "dimstream-models[analysis]"'
    return None


def frames_of(rounds: int, segmenters: Sequence[str]) -> int:
    """All frames that `measure_following` reports."""
    return rounds * LAP_FRAMES * (1 + len(segmenters))


def measure_following(
    bundle: Bundle, rounds: int, segmenters: Sequence[str], device: str, on_frames: Callable[[int], object]
) -> FollowingFigures:
    """Race them, each through a server of its own.

    Parameters
    ----------
    segmenters : sequence of str
        As `dimstream-analyse follow --segmenter` takes them.

    Raises
    ------
    ServerProcessError, dimstream_client.errors.DimstreamError, BenchmarkError
    """
    frames = er_frames(LAP_FRAMES)
    with ExitStack() as stack:
        routes = []
        for name in (ALONE, *segmenters):
            server = stack.enter_context(running_server(bundle.source, device, ("--state", "memory")))
            client = stack.enter_context(Client(server.zmq, timeout_s=PATIENCE_S, name="bench"))
            way = stack.enter_context(closing(ZmqRoute(name, client, frames[0], window=WINDOW)))
            way.denoise(frames[0])  # so that there is a frame to analyse
            follower = None if name == ALONE else stack.enter_context(running_follower(server.http, name))
            routes.append(_FollowedRoute(way, server, follower))
        laps = race(routes, frames, rounds, on_frames)
        alone, *followed = routes
        return FollowingFigures(
            frame_ms=Spread.of(lap.interval_ms for lap in laps[ALONE]),
            followed={route.name: _figures(laps, alone, route) for route in followed},
        )


def er_frames(count: int) -> list[Counts]:
    """Photon counts of the sample movie that ships, (600, 600) each, mirrored beyond its own sides."""
    with open_images(io.BytesIO(read_attachment(read_bundle(shipped_bundle()), MOVIE))) as movie:
        shown = movie.asarray()[:count]
    missing = [(0, side - own) for side, own in zip(SHAPE, shown.shape[1:], strict=True)]
    return [np.pad(frame, missing, mode="symmetric") for frame in shown]


class _FollowedRoute:
    """A way whose frames are analysed during its laps, if anything follows it; and what that took."""

    def __init__(self, way: ZmqRoute, server: RunningServer, follower: Follower | None) -> None:
        self.name = way.name
        self.analysed, self.seconds, self.analysis_s, self.server_s = 0, 0.0, 0.0, 0.0
        self._way, self._server, self._follower = way, server, follower

    def denoise(self, frame: Counts) -> Counts:
        """One frame's denoised photon counts, (H, W) uint16 like the frame; nothing is analysed meanwhile."""
        return self._way.denoise(frame)

    def lap(self, frames: Sequence[Counts]) -> Lap:
        """Frames, (H, W) photon counts, at most `WINDOW` ahead of their results."""
        before = cpu_s(self._server.pid)
        if self._follower is None:
            lap = self._way.lap(frames)
        else:
            with self._follower.at_work() as done:
                lap = self._way.lap(frames)
            self.analysed += done.frames
            self.analysis_s += done.cpu_s
        self.server_s += cpu_s(self._server.pid) - before
        self.seconds += lap.elapsed_ms / 1e3
        return lap

    def close(self) -> None:
        """End the stream."""
        self._way.close()


def _figures(laps: Laps, alone: _FollowedRoute, route: _FollowedRoute) -> FollowedFigures:
    pairs = zip(laps[ALONE], laps[route.name], strict=True)
    return FollowedFigures(
        throughput_ratio=Spread.of(one.interval_ms / other.interval_ms for one, other in pairs),
        analysed_per_s=route.analysed / route.seconds,
        analysis_cpu_s=_known(route.analysis_s / route.analysed) if route.analysed else None,
        server_cpu_ratio=_known(alone.server_s / route.server_s) if route.server_s else None,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
