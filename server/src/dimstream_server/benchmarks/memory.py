"""Whether a server's memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from dimstream_server.benchmarks.routes import Counts, Route
from dimstream_server.server_process import RunningServer

SAMPLES: Final = 100
WARM_UP_SAMPLES: Final = 10
END_SAMPLES: Final = 10


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
