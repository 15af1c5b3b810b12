"""`dimstream-server plan`: how many microscopes workers serve, by a simulation of their queues.

Each worker answers one frame at a time, as a device does. A stream stays at its worker. Microscopes send a
frame each interval, with a phase and a jitter of their own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FRAMES: Final = 400  # of each microscope
SEED: Final = 0
TAIL: Final = 0.99
MOST_MICROSCOPES: Final = 1_000
Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Load:
    """What microscopes send.

    Parameters
    ----------
    interval_s : float
        Between two frames of one microscope, seconds.
    jitter : float
        Standard deviation of that, as a share of it.
    frames : int
        Frames that come together, such as the planes of a stack; `interval_s` is between two such groups.
    """

    interval_s: float
    jitter: float = 0.05
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Parameters
    ----------
    busy : float
        Share of the time that the workers work, 0 to 1; at 1 queues grow without end.
    mean_s, median_s, tail_s : float
        Latency of the frames: mean, median, and the 99th percentile, seconds.
    """

    busy: float
    mean_s: float
    median_s: float
    tail_s: float


def simulate(
    service_s: Sequence[float],
    load: Load,
    *,
    microscopes: int,
    workers: int,
    added_s: float,
    seed: int = SEED,
) -> Outcome:
    """Latencies of all frames of all microscopes.

    Parameters
    ----------
    service_s : sequence of float
        What a worker takes for a frame, seconds, as measured; drawn from at random.
    added_s : float
        What gateway and network add to each frame, seconds.
    """
    chance = np.random.default_rng(seed)
    latencies, worked, lasted = [], 0.0, 0.0
    for worker in range(min(workers, microscopes)):
        own = len(range(worker, microscopes, workers))
        arrivals = np.sort(np.concatenate([_arrivals(load, chance) for _ in range(own)]))  # (N,)
        service = chance.choice(np.asarray(service_s, float), arrivals.size)  # (N,)
        latencies.append(_latencies(arrivals, service))
        worked += service.sum()
        lasted = max(lasted, arrivals[-1] - arrivals[0])
    every = np.concatenate(latencies) + added_s
    median, tail = np.quantile(every, (0.5, TAIL))
    busy = min(worked / (workers * max(lasted, 1e-9)), 1.0)
    return Outcome(busy, float(every.mean()), float(median), float(tail))


def most_microscopes(
    service_s: Sequence[float], load: Load, *, workers: int, added_s: float, within_s: float
) -> int:
    """How many microscopes are served so that 99 of 100 frames are answered within `within_s` seconds."""
    low, high = 0, MOST_MICROSCOPES
    while low < high:
        middle = (low + high + 1) // 2
        found = simulate(service_s, load, microscopes=middle, workers=workers, added_s=added_s)
        low, high = (middle, high) if found.tail_s <= within_s and found.busy < 1 else (low, middle - 1)
    return low


def _arrivals(load: Load, chance: np.random.Generator) -> Times:
    """When the frames of one microscope come, (FRAMES,) seconds."""
    groups = -(-FRAMES // load.frames)
    steps = load.interval_s * np.clip(chance.normal(1, load.jitter, groups), 0, None)
    starts = chance.uniform(0, load.interval_s) + np.cumsum(steps)
    return np.repeat(starts, load.frames)[:FRAMES]


def _latencies(arrivals: Times, service: Times) -> Times:
    """Of frames that one worker answers in their order, (N,) seconds."""
    done = 0.0
    latencies = np.empty_like(arrivals)
    for number, (arrival, takes) in enumerate(zip(arrivals, service, strict=True)):
        done = max(done, arrival) + takes
        latencies[number] = done - arrival
    return latencies


def main(argv: Sequence[str]) -> int:
    """Print how many microscopes one to eight workers serve; 0."""
    arguments = _parser().parse_args(argv)
    load = Load(arguments.interval_s, arguments.jitter, arguments.planes)
    within_s = arguments.within_s or arguments.interval_s
    service_s = [value / 1e3 for value in arguments.service_ms]
    print(f"99 of 100 frames within {within_s:g} s, {arguments.planes} each {arguments.interval_s:g} s")
    print("workers  microscopes  busy  median  99 of 100")
    for workers in range(1, arguments.workers + 1):
        options: dict[str, Any] = {"workers": workers, "added_s": arguments.added_ms / 1e3}
        most = most_microscopes(service_s, load, within_s=within_s, **options)
        if not most:
            print(f"{workers:7d}  {most:11d}")
            continue
        found = simulate(service_s, load, microscopes=most, **options)
        print(f"{workers:7d}  {most:11d}  {found.busy:4.0%}  {found.median_s:5.2f}s  {found.tail_s:7.2f}s")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dimstream-server plan",
        description="How many microscopes do so many workers serve? See docs/scale.md.",
    )
    add = parser.add_argument
    what = "what a worker takes for a frame, as `dimstream-server bench` measures it; several are drawn from"
    add("--service-ms", type=_positive, nargs="+", required=True, metavar="MS", help=what)
    add("--interval-s", type=_positive, required=True, metavar="S", help="between two frames, or stacks")
    add("--planes", type=int, choices=range(1, 257), default=1, metavar="N", help="planes that come together")
    add("--jitter", type=float, default=0.05, help="of the interval, a share of it (default: 0.05)")
    add("--within-s", type=_positive, metavar="S", help="what 99 of 100 frames may take (default: interval)")
    add("--added-ms", type=_positive, default=2.0, metavar="MS", help="by gateway and network (default: 2)")
    workers = "plan for 1 to so many (default: 4)"
    add("--workers", type=int, choices=range(1, 65), default=4, metavar="N", help=workers)
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
