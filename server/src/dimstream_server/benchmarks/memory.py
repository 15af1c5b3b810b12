"""Whether a server's memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from dimstream_client.client import Client
from dimstream_models.bundle import Bundle
from dimstream_server.benchmarks.routes import PATIENCE_S, Counts, Route, ZmqRoute
from dimstream_server.server_process import RunningServer, running_server

SAMPLES: Final = 100
WARM_UP_SAMPLES: Final = 10
END_SAMPLES: Final = 10
WINDOW: Final = 8


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Resident memory of the server while many frames went through it.

    Parameters
    ----------
    growth_percent : float
        Median of the last tenth of the samples over the first tenth after the warm-up, which is a tenth too.
    rss_mib : list of float
        The samples, evenly spaced.
    """

    frames: int
    warm_up_frames: int
    growth_percent: float
    rss_mib: list[float]


def measure_memory(
    bundle: Bundle, frames: Sequence[Counts], total: int, device: str, on_frames: Callable[[int], object]
) -> MemoryFigures | None:
    """Watch the memory of a server of its own; as `watch_memory`.

    Raises
    ------
    ServerProcessError, dimstream_client.errors.DimstreamError, BenchmarkError
    """
    with (
        running_server(bundle.source, device) as server,
        Client(server.zmq, timeout_s=PATIENCE_S, name="bench") as client,
        closing(ZmqRoute("memory", client, frames[0], window=WINDOW)) as route,
    ):
        return watch_memory(server, route, frames, total, on_frames)


def watch_memory(
    server: RunningServer,
    route: Route,
    frames: Sequence[Counts],
    total: int,
    on_frames: Callable[[int], object],
) -> MemoryFigures | None:
    """Send `total` frames, a multiple of `SAMPLES`, sampling memory; None where it cannot be read.

    `frames` are (H, W) uint16 photon counts, sent again and again.
    """
    per_sample = total // SAMPLES
    rss: list[float] = []
    for sample in range(SAMPLES):
        shift = sample * per_sample
        route.lap([frames[(shift + i) % len(frames)] for i in range(per_sample)])
        on_frames(per_sample)
        if (now := server.memory_mib("VmRSS")) is not None:
            rss.append(now)
    if not rss:
        return None
    return MemoryFigures(SAMPLES * per_sample, WARM_UP_SAMPLES * per_sample, growth_percent(rss), rss)


def growth_percent(rss_mib: Sequence[float]) -> float:
    """Growth from the first samples after the warm-up to the last samples, percent."""
    settled = list(islice(rss_mib, WARM_UP_SAMPLES, 2 * WARM_UP_SAMPLES))
    before, after = float(np.median(settled)), float(np.median(rss_mib[-END_SAMPLES:]))
    return 100 * (after - before) / before
