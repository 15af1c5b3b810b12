"""Real processes to be killed: a server, and a program at the microscope."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forked import Forked, forked
from ports import free_port
from server_starts import start_server

_START_S = 90.0
_TESTS = Path(__file__).resolve().parents[1]


class Server:
    """A server that comes back on the same port with the same journal, however it was ended.

    Parameters
    ----------
    folder : Path
        Of its files; the journal is in ``state`` under it, unless told otherwise.
    record : Path, optional
        Folder of its recordings.
    settings : mapping, optional
        Of its TOML file: table to keys to values.
    within : sequence of str
        Put before its command: ``ip netns exec NAME``.
    http : str
        HOST:PORT of its HTTP.
    program : sequence of str
        What Python runs instead of the server's command line, which is forked where nothing is put before.
    command : sequence of str
        Its subcommand, and options that are not in the settings.
    """

    def __init__(
        self,
        bundle: Path,
        folder: Path,
        *,
        state: Path | str | None = None,
        record: Path | None = None,
        settings: dict[str, dict[str, Any]] | None = None,
        host: str = "127.0.0.1",
        within: Sequence[str] = (),
        http: str = "127.0.0.1:0",
        program: Sequence[str] = (),
        command: Sequence[str] = ("serve",),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._http = http
        self.bundle, self.folder = bundle, folder
        self.endpoint = f"tcp://{host}:{free_port()}"
        self.http = ""
        self.state = state or folder / "state"
        self._record = record
        self._settings = settings or {}
        self._within, self._program, self._command = [*within], [*program], [*command]
        self._process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has said since it was made."""
        return (self.folder / "server.log").read_text(errors="replace")

    def begin(self) -> None:
        """Start it, and do not wait."""
        self._ready.unlink(missing_ok=True)
        self._config.write_text(_toml(self._settings))
        command = [*self._command, "--config", str(self._config), "--bundle", str(self.bundle)]
        command += ["--zmq", self.endpoint, "--http", self._http, "--state", str(self.state)]
        command += ["--ready-file", str(self._ready), "--log-level", "info"]
        command += [] if self._record is None else ["--record", str(self._record)]
        path = self.folder / "server.log"
        if not self._within and not self._program:
            self._process = start_server(command, out=path)
            return
        run = [*self._within, sys.executable, *(self._program or ("-m", "dimstream_server.cli"))]
        with path.open("ab") as log:
            self._process = subprocess.Popen([*run, *command], stderr=log, stdout=log)

    def wait(self) -> None:
        """Wait until it takes work."""
        assert self._process is not None
        deadline = time.monotonic() + _START_S
        while not self._ready.exists():
            assert self._process.poll() is None, f"the server did not start: {self.log[-2000:]}"
            assert time.monotonic() < deadline, f"the server was not ready within {_START_S:g} s"
            time.sleep(0.02)
        self.http = json.loads(self._ready.read_text())["http"]

    def start(self) -> None:
        """Start it and wait until it takes work."""
        self.begin()
        self.wait()

    def status(self, timeout_s: float) -> int:
        """Wait until it ends by itself; return its exit status."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """End it by SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        """End it by SIGTERM; return its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(90)

    def change_settings(self, table: str, **values: Any) -> None:
        """Change a table of its TOML file, and have it read again (SIGHUP)."""
        self._settings = self._settings | {table: self._settings.get(table, {}) | values}
        self._config.write_text(_toml(self._settings))
        os.kill(self.pid, signal.SIGHUP)

    def freeze(self) -> None:
        """Stop its clock ticks: it holds its sockets and does nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def _config(self) -> Path:
        return self.folder / "server.toml"

    @property
    def _ready(self) -> Path:
        return self.folder / "ready.json"


class Program:
    """The client program (`microscope`) in a process of its own, which goes on where it was killed.

    Parameters
    ----------
    folder : Path
        Of its results and its spool.
    **settings
        Of `microscope.Wishes`.
    """

    def __init__(self, folder: Path, *, within: Sequence[str] = (), **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._within = list(within)
        self._process: subprocess.Popen[bytes] | Forked | None = None
        (folder / "wishes.json").write_text(json.dumps(settings))

    def start(self) -> None:
        """Start it, the first time or again."""
        log = self.folder / "program.log"
        if not self._within:
            self._process = forked("faults.microscope").start(
                "faults.microscope:run", [str(self.folder)], out=log
            )
            return
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")])
        }
        command = [*self._within, sys.executable, "-m", "faults.microscope", str(self.folder)]
        with log.open("ab") as file:
            self._process = subprocess.Popen(command, stderr=file, stdout=file, env=environment)

    def kill(self) -> None:
        """End it by SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it send no more frames, and end once all are answered."""
        (self.folder / "stop").touch()

    def wait(self, timeout_s: float) -> int:
        """Wait until it ends; return its exit status."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    @property
    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has said since it was made."""
        return (self.folder / "program.log").read_text(errors="replace")

    def lines(self, name: str = "results.jsonl") -> list[dict[str, Any]]:
        """What it has written down."""
        path = self.folder / name
        text = path.read_bytes() if path.exists() else b""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]

    def last(self) -> dict[str, Any]:
        """The last line of its results; empty before the first."""
        path = self.folder / "results.jsonl"
        if not path.exists():
            return {}
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            whole = file.read().rpartition(b"\n")[0]
        return json.loads(whole.rpartition(b"\n")[2]) if whole else {}

    def count(self) -> int:
        """Results that it has written down."""
        path = self.folder / "results.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def __enter__(self) -> Program:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


def _toml(tables: dict[str, dict[str, Any]]) -> str:
    """JSON's numbers, texts and booleans are TOML's."""
    return "\n".join(
        line
        for table, keys in tables.items()
        for line in [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    )
