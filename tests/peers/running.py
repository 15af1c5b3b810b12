"""A peer's server and its client, each a process of its own, as one route of the benchmark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ports import free_port

from dimstream_server.benchmarks.routes import Counts, Lap

START_S = 120.0
_PROGRAM = Path(__file__).parent / "programs" / "peer.py"


class PeerFailed(Exception):
    """A peer does not run here; the text is the reason."""


class PeerRoute:
    """What `race` wants of a route; the client's process sends the frames of its own file."""

    def __init__(self, name: str, client: subprocess.Popen[str], scratch: Path, window: int) -> None:
        self.name = name
        self._client, self._window = client, window
        self._answer = scratch / f"{name}.npy"

    def denoise(self, frame: Counts) -> Counts:
        """The first frame's denoised counts, (H, W) uint16."""
        ask(self._client, {"denoise": str(self._answer)})
        return np.asarray(np.load(self._answer))

    def lap(self, frames: Sequence[Counts]) -> Lap:
        """All frames, `window` of them in flight."""
        found = ask(self._client, {"frames": len(frames), "window": self._window})
        return Lap(found["elapsed_ms"], found["latencies_ms"])

    def close(self) -> None:
        """Nothing: the client belongs to another."""


def ask(client: subprocess.Popen[str], question: dict[str, Any]) -> dict[str, Any]:
    """One line to a client's process, and its answer.

    Raises
    ------
    PeerFailed
        The process ended instead, or says why it cannot.
    """
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        client.stdin.write(json.dumps(question) + "\n")
        client.stdin.flush()
    except BrokenPipeError as error:
        raise PeerFailed("its client ended") from error
    line = client.stdout.readline()
    if not line:
        raise PeerFailed("its client ended")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise PeerFailed(answer["error"])
    return answer


@contextmanager
def serving(
    python: Path, program: str, settings: dict[str, Any], scratch: Path
) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """Run a peer's server; gives the settings of its client, and the process."""
    told = settings | {"port": free_port(), "more_ports": [free_port(), free_port()]}
    with _process(python, "serve", program, _written(scratch / "server.json", told)) as server:
        yield told, server


@contextmanager
def connected(
    python: Path,
    program: str,
    settings: dict[str, Any],
    scratch: Path,
    server: subprocess.Popen[str] | None,
) -> Iterator[subprocess.Popen[str]]:
    """Run the client's side, once its server answers; `server` is None where it is known to.

    Raises
    ------
    PeerFailed
        The server ended, or gives no answer within two minutes.
    """
    path = _written(scratch / "client.json", settings)
    with _process(python, "ask", program, path) as client:
        deadline = time.monotonic() + START_S
        while True:
            try:
                ask(client, {"denoise": str(scratch / "first.npy")})
            except PeerFailed as error:
                if server is not None and server.poll() is not None:
                    said = (scratch / "server.log").read_text(encoding="utf-8").splitlines()
                    raise PeerFailed(f"its server ended: {said[-1] if said else server.poll()}") from error
                if client.poll() is not None or time.monotonic() > deadline:
                    raise PeerFailed(f"it gives no answer: {error}") from error
                time.sleep(0.2)
                continue
            break
        yield client


def _written(path: Path, settings: dict[str, Any]) -> Path:
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


@contextmanager
def _process(python: Path, side: str, program: str, settings: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with all that it starts; what it prints is in a file beside its settings."""
    command = [str(python), str(_PROGRAM), side, program, str(settings)]
    with settings.with_suffix(".log").open("w", encoding="utf-8") as log:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} if side == "ask" else {"stdout": log}
        process = subprocess.Popen(command, text=True, stderr=log, start_new_session=True, **pipes)
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and all of its session: some peers start others, which outlive them."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


OUR_PYTHON = Path(sys.executable)
