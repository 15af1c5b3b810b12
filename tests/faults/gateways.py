"""A gateway and its workers as real processes, whose workers are killed at random moments."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faults.processes import Server

_GATEWAY: Final = {"workers": {"silence_s": 2.0}, "zmq": {"silence_s": 2.0}}


@dataclass
class Cluster:
    """A gateway and its workers, all ready."""

    gateway: Server
    workers: list[Server]
    listed: Path

    def use(self, *workers: Server) -> None:
        """Have the gateway use these workers, by its file."""
        self.listed.write_text("# workers\n" + "".join(f"{worker.endpoint}\n" for worker in workers))
        os.kill(self.gateway.pid, signal.SIGHUP)


@contextmanager
def cluster(bundle: Path, folder: Path, *, workers: int = 2) -> Iterator[Cluster]:
    """Start a gateway with workers that keep nothing on a disk."""
    with ExitStack() as stack:
        each = [
            stack.enter_context(Server(bundle, folder / f"worker{n}", state="memory")) for n in range(workers)
        ]
        listed = folder / "workers.txt"
        listed.write_text("".join(f"{worker.endpoint}\n" for worker in each))
        named = ("gateway", "--workers-file", str(listed))
        gateway = Server(bundle, folder / "gateway", settings=_GATEWAY, command=named)
        yield Cluster(stack.enter_context(gateway), each, listed)


@dataclass
class RandomKills:
    """Kills one worker after another at random moments and lets it come back, until it is stopped.

    Parameters
    ----------
    most : int
        Kills; then it stops by itself.
    every_s : tuple of float
        Shortest and longest time between a worker's start and the next kill.
    """

    workers: list[Server]
    seed: int
    most: int
    every_s: tuple[float, float] = (0.1, 0.6)
    kills: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Kill until told to stop."""
        chance = random.Random(self.seed)
        while self.kills < self.most and not self._stop.wait(chance.uniform(*self.every_s)):
            worker = chance.choice(self.workers)
            worker.kill()
            self.kills += 1
            worker.start()

    def __enter__(self) -> RandomKills:
        self._thread = threading.Thread(target=self.run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
