"""Processes of a program that are forked from one that has imported it: it is not imported by each again.

A start of the server takes 3 s of a processor, nearly all of it for its imports. `forked("a.module", …)` is
called once for a program, and what it gives starts it as often as wanted: each is a process of its own, with
the threads, signals and exit status that it has when a shell starts it.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_TESTS = Path(__file__).resolve().parent
_START_S = 120.0


class Forked:
    """A process, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, words: Sequence[str]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._words = list(words)
        self._has_ended = threading.Event()

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def poll(self) -> int | None:
        """Its exit status (a signal's number is negative); None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends; its exit status."""
        if not self._has_ended.wait(timeout):
            assert timeout is not None
            raise subprocess.TimeoutExpired(self._words, timeout)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """End it by SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def ended(self, status: int) -> None:
        """Note that it has ended."""
        self.returncode = status
        self._has_ended.set()


class Forks:
    """The process that has imported the modules, from which others are forked.

    Parameters
    ----------
    modules : sequence of str
        What it imports before.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        path = os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "forked", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        )
        atexit.register(self._close)
        self._pids: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._one_at_a_time = threading.Lock()
        self._running: dict[int, Forked] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, program: str, words: Sequence[str], *, out: Path, errors: Path | None = None) -> Forked:
        """Start a process that calls a function with these words, and has its result as its exit status.

        Parameters
        ----------
        program : str
            ``module:function``.
        out, errors : Path
            What it prints is appended to them; its errors to `out` when there is but one.
        """
        asked = {"program": program, "words": list(words), "out": str(out), "errors": str(errors or out)}
        around = {"environment": dict(os.environ), "folder": os.getcwd()}
        for path in (out, errors or out):
            path.touch()  # it may be read at once
        assert self._process.stdin is not None
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(asked | around).encode() + b"\n")
            self._process.stdin.flush()
            pid = self._pids.get(timeout=_START_S)
            assert pid is not None, "the process to fork from has ended; why is on stderr"
            return self._running[pid]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if "status" in told:
                self._running.pop(told["pid"]).ended(told["status"])
            else:
                self._running[told["pid"]] = Forked(told["pid"], told["words"])
                self._pids.put(told["pid"])
        self._pids.put(None)

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@functools.cache
def forked(*modules: str) -> Forks:
    """The process of these modules, started when it is first asked for."""
    return Forks(modules)


def _fork_what_is_asked_for() -> dict[str, Any]:
    """Fork until nobody asks any more, which ends this process; each child returns what it was asked for."""
    ends, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        readable, _, _ = select.select([sys.stdin.buffer, ends], [], [])
        if ends in readable:
            os.read(ends, 4096)
            _tell_ends()
        if sys.stdin.buffer not in readable:
            continue
        line = sys.stdin.buffer.readline()  # one at a time, so that no other waits in the buffer
        if not line:
            sys.exit()
        asked: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(ends)
            os.close(told)
            return asked
        _tell(pid=pid, words=asked["words"])


def _tell_ends() -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(pid=pid, status=os.waitstatus_to_exitcode(status))


def _tell(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _become(asked: dict[str, Any]) -> NoReturn:
    for number, (path, flags) in enumerate(
        [
            (os.devnull, os.O_RDONLY),
            (asked["out"], os.O_WRONLY | os.O_APPEND | os.O_CREAT),
            (asked["errors"], os.O_WRONLY | os.O_APPEND | os.O_CREAT),
        ]
    ):
        opened = os.open(path, flags, 0o666)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    module, _, function = asked["program"].partition(":")
    sys.argv = [module, *asked["words"]]
    sys.exit(getattr(importlib.import_module(module), function)(asked["words"]))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:  # a fork would have this one alone
        sys.exit(f"expected imports that start no thread, got {threads} threads")
    gc.freeze()
    _become(_fork_what_is_asked_for())
