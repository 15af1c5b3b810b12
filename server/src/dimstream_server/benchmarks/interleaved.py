"""Routes in turn, round after round, so that whatever slows the machine slows them all; and their figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from dimstream_client.messages import Times
from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.benchmarks.routes import Counts, Lap, Route

COUNT_TOLERANCE: Final = 1
Laps = Mapping[str, Sequence[Lap]]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and quartiles of `n` values."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Of at least one value."""
        found = np.fromiter(values, float)
        low, median, high = (float(value) for value in np.quantile(found, (0.25, 0.5, 0.75)))
        return cls(median=median, low=low, high=high, n=found.size)


@dataclass(frozen=True, slots=True)
class RouteFigures:
    """What was measured of one route.

    Parameters
    ----------
    latency_ms : Spread
        Of single frames, from counts in to denoised counts out.
    interval_ms : Spread
        Time per frame, of the laps.
    added_ms : Spread or None
        Median latency of a lap less that of the bare lap in the same round; None for the bare route, and for
        routes with several frames in flight, whose frames wait for one another.
    outside_ms : Spread or None
        Latency of single frames less what the server's engine took for them (`total`): transport, and the
        work of client and endpoint. None as `added_ms`, and where the server says nothing of its frames.
    throughput_ratio : Spread or None
        Frames per second of a lap by those of the bare lap in the same round.
    server_ms : dict or None
        Medians of what the server says: queue, infer, total.
    """

    latency_ms: Spread
    interval_ms: Spread
    added_ms: Spread | None
    outside_ms: Spread | None
    throughput_ratio: Spread | None
    server_ms: dict[str, float] | None

    @property
    def frames_per_s(self) -> float:
        """Throughput."""
        return 1e3 / self.interval_ms.median


def check_same_pixels(bare: Route, others: Iterable[Route], frame: Counts) -> None:
    """Let every route denoise `frame`, (H, W) uint16 photon counts, as the bare one does.

    Raises
    ------
    BenchmarkError
        Pixels differ by more than one count.
    """
    expected = bare.denoise(frame).astype(int)
    for route in others:
        found = route.denoise(frame)
        if found.shape != expected.shape or np.abs(found - expected).max() > COUNT_TOLERANCE:
            raise BenchmarkError(f"{route.name} gives other pixels than {bare.name}; nothing was measured")


def race(
    routes: Sequence[Route], frames: Sequence[Counts], rounds: int, on_lap: Callable[[int], object]
) -> Laps:
    """Laps of every route, one in each round.

    Parameters
    ----------
    frames : sequence of (H, W) ndarray
        Of one lap; the first goes ahead once more, untimed, to wake threads and caches.
    on_lap : callable
        Called with the number of frames after each lap.
    """
    laps: dict[str, list[Lap]] = {route.name: [] for route in routes}
    for _ in range(rounds):
        for route in routes:
            route.denoise(frames[0])
            laps[route.name].append(route.lap(frames))
            on_lap(len(frames))
    return laps


def route_figures(laps: Laps, bare: str, one_at_a_time: Iterable[str]) -> dict[str, RouteFigures]:
    """Figures of every route, compared with the route `bare` round by round."""
    single = set(one_at_a_time)
    return {
        name: RouteFigures(
            latency_ms=Spread.of(latency for lap in own for latency in lap.latencies_ms),
            interval_ms=Spread.of(lap.interval_ms for lap in own),
            added_ms=_added(own, laps[bare]) if name in single - {bare} else None,
            outside_ms=_outside(own) if name in single - {bare} else None,
            throughput_ratio=None if name == bare else _ratio(own, laps[bare]),
            server_ms=_server_medians([times for lap in own for times in lap.server_ms]),
        )
        for name, own in laps.items()
    }


def _added(own: Sequence[Lap], bare: Sequence[Lap]) -> Spread:
    pairs = zip(own, bare, strict=True)
    return Spread.of(float(np.median(a.latencies_ms) - np.median(b.latencies_ms)) for a, b in pairs)


def _outside(laps: Sequence[Lap]) -> Spread | None:
    if not all(lap.server_ms for lap in laps):
        return None
    pairs = [pair for lap in laps for pair in zip(lap.latencies_ms, lap.server_ms, strict=True)]
    return Spread.of(latency - times.total for latency, times in pairs)


def _ratio(own: Sequence[Lap], bare: Sequence[Lap]) -> Spread:
    return Spread.of(b.interval_ms / a.interval_ms for a, b in zip(own, bare, strict=True))


def _server_medians(times: Sequence[Times]) -> dict[str, float] | None:
    if not times:
        return None
    return {
        part: float(np.median([getattr(one, part) for one in times])) for part in ("queue", "infer", "total")
    }
