"""A real `dimstream-server serve` in a process of its own: for the demo, the benchmark and the tests."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

START_S: Final = 120.0
STOP_S: Final = 60.0
_POLL_S: Final = 0.002
_KIB_PER_MIB: Final = 1024


class ServerProcessError(Exception):
    """The server did not start, ran away or did not stop; the text is for the operator."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that takes work.

    Parameters
    ----------
    zmq, http : str
        Where it is found.
    start_up_s : float
        From the start of the process to its ready file.
    """

    zmq: str
    http: str
    pid: int
    start_up_s: float

    def memory_mib(self, kind: Literal["VmRSS", "VmHWM"]) -> float | None:
        """Resident memory now (VmRSS) or at its peak (VmHWM), MiB; None where there is no /proc.

        Raises
        ------
        ServerProcessError
            The server is gone.
        """
        if not Path("/proc/self/status").exists():
            return None
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except FileNotFoundError as error:
            raise ServerProcessError(f"the server (pid {self.pid}) ended while it was measured") from error
        found = [line.split() for line in lines if line.startswith(f"{kind}:")]
        if not found:
            raise ServerProcessError(f"the server (pid {self.pid}) ended while it was measured")
        return int(found[0][1]) / _KIB_PER_MIB


@contextmanager
def running_server(bundle: Path, device: str = "cpu", more: Sequence[str] = ()) -> Iterator[RunningServer]:
    """Serve one bundle in a process of its own, with `more` options, and stop it in the end.

    Raises
    ------
    ServerProcessError
        It ends before it is ready, is not ready in time, or does not stop cleanly; why is on stderr.
    """
    with _running(["serve", "--bundle", str(bundle), "--device", device, *more]) as server:
        yield server


@contextmanager
def running_gateway(bundle: Path, workers: Sequence[str]) -> Iterator[RunningServer]:
    """The same of a gateway in front of `workers`, which are endpoints.

    Raises
    ------
    ServerProcessError
    """
    named = [word for worker in workers for word in ("--worker", worker)]
    with _running(["gateway", "--bundle", str(bundle), *named]) as gateway:
        yield gateway


@contextmanager
def _running(words: Sequence[str]) -> Iterator[RunningServer]:
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch) / "ready.json"
        started = time.perf_counter()
        with _start(words, ready) as process:
            try:
                _wait_until_ready(process, ready)
                took_s = time.perf_counter() - started
                message = json.loads(ready.read_text(encoding="utf-8"))
                yield RunningServer(message["zmq"], message["http"], message["pid"], took_s)
                _stop(process)
            finally:
                process.kill()


def _start(words: Sequence[str], ready: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "dimstream_server.cli", *_on_free_ports(words, ready)])


def _on_free_ports(words: Sequence[str], ready: Path) -> list[str]:
    free = ["--zmq", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--ready-file", str(ready)]
    return [*words, *free, "--log-level", "warning"]


def _wait_until_ready(process: subprocess.Popen[bytes], ready: Path) -> None:
    deadline = time.monotonic() + START_S
    while not ready.exists():
        if process.poll() is not None:
            raise ServerProcessError(f"the server ended with status {process.returncode} before it was ready")
        if time.monotonic() > deadline:
            raise ServerProcessError(f"the server was not ready within {START_S:g} s")
        time.sleep(_POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        status = process.wait(STOP_S)
    except subprocess.TimeoutExpired as error:
        raise ServerProcessError(f"the server did not stop within {STOP_S:g} s of SIGTERM") from error
    if status != 0:
        raise ServerProcessError(f"the server stopped with status {status}, expected 0")
