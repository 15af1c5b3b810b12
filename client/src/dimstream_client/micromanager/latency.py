"""Measure the latency of feedback: from a frame to the next event with another exposure.

python -m dimstream_client.micromanager.latency --server tcp://HOST:PORT [--frames 100] [--size 600]

A camera in Python plays frames of 1 photon per pixel. A rule increases the exposure slightly after each
frame, and the next event is made after the decision. Needs the extra ``micromanager`` and a server.
"""

from __future__ import annotations

import argparse
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from dimstream_client.client import Client
from dimstream_client.feedback import Advisor, Change, Decision, FeedbackLoop, Limits, LowDose, Rule
from dimstream_client.messages import Result
from dimstream_client.micromanager.driver import MdaDriver
from dimstream_client.micromanager.mda import MdaStream
from dimstream_client.micromanager.replay import replay_core
from dimstream_client.micromanager.sent_stream import SentFrame

_FACTOR: Final = 1.02
_LONGEST_MS: Final = 1000.0
_WARM_UP: Final = 5
ROWS: Final = {
    "frameReady to result": "result",
    "of that, in the server": "server",
    "result to decision": "decision",
    "decision to next event's start": "event",
    "whole loop": "whole",
}


@dataclass
class Times:
    """Times of the steps of each frame, seconds of `time.perf_counter`; `server` is a duration in seconds.

    Frame n belongs to event t = n; its change applies from event n + 1 on.
    """

    frame: dict[int, float] = field(default_factory=dict)
    result: dict[int, float] = field(default_factory=dict)
    server: dict[int, float] = field(default_factory=dict)
    decision: dict[int, float] = field(default_factory=dict)
    event: dict[int, float] = field(default_factory=dict)

    def table(self) -> dict[str, list[float]]:
        """Return the milliseconds of each step for each frame, without the first frames."""
        done = sorted(
            self.frame.keys() & self.result.keys() & self.decision.keys() & {n - 1 for n in self.event}
        )
        steps: dict[str, list[float]] = {name: [] for name in ROWS.values()}
        for n in done[_WARM_UP:]:
            whole = self.event[n + 1] - self.frame[n]
            parts = (
                self.result[n] - self.frame[n],
                self.server[n],
                self.decision[n] - self.result[n],
                self.event[n + 1] - self.decision[n],
                whole,
            )
            for name, seconds in zip(ROWS.values(), parts):
                steps[name].append(1e3 * seconds)
        return steps


class _Observed(FeedbackLoop):
    """Records when each result arrived."""

    times: Times

    def observe(self, seen: Any) -> list[Decision]:
        self.times.result[seen.index.t] = time.perf_counter()
        return super().observe(seen)


def measure(endpoint: str, *, frames: int, size: int) -> Times:
    """Run the loop and return its times.

    Raises
    ------
    DimstreamError
    """
    import useq

    times, events = Times(), queue.Queue[Any]()
    core = replay_core(np.ones((2, size, size), np.uint16), exposure_ms=1.0)
    driver = MdaDriver(core)

    def on_decision(decision: Decision) -> None:
        times.decision[decision.index.t] = time.perf_counter()
        n = decision.index.t + 1
        events.put(useq.MDAEvent(index={"t": n}) if n < frames else None)

    def on_result(result: Result, sent: SentFrame) -> None:
        times.server[sent.index.t] = result.t_ms.total / 1e3

    rule = Rule("more", LowDose(1e9, 1), Change("exposure_ms", factor=_FACTOR), wait_frames=0)
    limits = Limits(frames, {"exposure_ms": (1.0, _LONGEST_MS)})
    loop = _Observed(Advisor([rule], mode="act", limits=limits), driver=driver, on_decision=on_decision)
    loop.times = times
    core.mda.events.frameReady.connect(
        lambda image, event, meta: times.frame.setdefault(event.index["t"], time.perf_counter())
    )
    core.mda.events.eventStarted.connect(
        lambda event: times.event.setdefault(event.index["t"], time.perf_counter())
    )
    with Client(endpoint) as client:
        client.ping()
        stream = MdaStream(core, client, on_result=on_result, feedback=loop)
        stream.connect()
        driver.feed = stream.feed(events)
        events.put(useq.MDAEvent(index={"t": 0}))
        thread: threading.Thread = core.run_mda(driver.feed)
        thread.join()
        stream.close(timeout_s=600)
    core.unloadAllDevices()
    return times


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a table of milliseconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", required=True, metavar="tcp://HOST:PORT")
    parser.add_argument("--frames", type=int, default=100, metavar="N", help="10 to 300 (default: 100)")
    parser.add_argument("--size", type=int, default=600, metavar="PX", help="side of a frame (default: 600)")
    arguments = parser.parse_args(argv)
    if not 10 <= arguments.frames <= 300:
        parser.error("expected 10 to 300 frames")
    table = measure(arguments.server, frames=arguments.frames, size=arguments.size).table()
    print(f"{len(table['whole'])} frames of {arguments.size} x {arguments.size}, milliseconds")
    print(f"{'':32}{'median':>10}{'95 %':>10}{'worst':>10}")
    for text, name in ROWS.items():
        p50, p95, worst = np.percentile(table[name], (50, 95, 100))
        print(f"{text:32}{p50:10.2f}{p95:10.2f}{worst:10.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
