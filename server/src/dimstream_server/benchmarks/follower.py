"""A live analysis of a server, in a process of its own that is halted but for the time that is measured."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from dimstream_server.benchmarks.errors import BenchmarkError
from dimstream_server.benchmarks.process_time import cpu_s
from dimstream_server.benchmarks.routes import PATIENCE_S

CAN_HALT: Final = hasattr(signal, "SIGSTOP")
_COUNT: Final = re.compile(r"^dimstream_stream_frames_analysed_total\{[^}]*\} (\S+)$", re.MULTILINE)
_COMMAND: Final = "import sys; from dimstream_models.analysis.cli import main; sys.exit(main())"
_LOOK_S: Final = 0.05


@dataclass(slots=True)
class Done:
    """Frames that were analysed, and the processor time of that, seconds; NaN where there is no /proc."""

    frames: int = 0
    cpu_s: float = 0.0


class Follower:
    """An analysis of one server, halted when made."""

    def __init__(self, process: subprocess.Popen[bytes], server: str, said: IO[bytes]) -> None:
        self._process, self._server, self._said = process, server, said

    @contextmanager
    def at_work(self) -> Iterator[Done]:
        """Let it work; what it did is known afterwards.

        Raises
        ------
        BenchmarkError
            It has ended.
        """
        done = Done()
        frames, spent = self.analysed(), cpu_s(self._process.pid)
        self._process.send_signal(signal.SIGCONT)
        yield done
        self._process.send_signal(signal.SIGSTOP)
        done.frames, done.cpu_s = self.analysed() - frames, cpu_s(self._process.pid) - spent

    def analysed(self) -> int:
        """Frames whose figures the server has got.

        Raises
        ------
        BenchmarkError
            The analysis has ended.
        """
        if self._process.poll() is not None:
            self._said.seek(0)
            text = self._said.read().decode(errors="replace").strip()
            raise BenchmarkError(f"dimstream-analyse follow ended while it was measured: {text}")
        with urllib.request.urlopen(f"{self._server}/metrics", timeout=PATIENCE_S) as answer:
            return int(sum(float(count) for count in _COUNT.findall(answer.read().decode())))

    def wait_for_first(self) -> None:
        """Wait until it has analysed a frame; from then on it is warm.

        Raises
        ------
        BenchmarkError
            It has ended, or takes too long.
        """
        until = time.monotonic() + PATIENCE_S
        while not self.analysed():
            if time.monotonic() > until:
                raise BenchmarkError(f"dimstream-analyse follow sent no figures within {PATIENCE_S:g} s")
            time.sleep(_LOOK_S)


@contextmanager
def running_follower(server: str, segmenter: str) -> Iterator[Follower]:
    """Follow a server, whose URL this is and which has a frame already, and halt once that is analysed.

    Raises
    ------
    BenchmarkError
        It ends, or takes too long.
    """
    command = [sys.executable, "-c", _COMMAND, "follow", "--server", server, "--segmenter", segmenter]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=said, stderr=said, env=environment) as process,
    ):
        try:
            follower = Follower(process, server, said)
            follower.wait_for_first()
            process.send_signal(signal.SIGSTOP)
            yield follower
        finally:
            process.kill()
