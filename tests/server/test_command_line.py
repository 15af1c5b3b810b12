"""What the commands say of themselves, and on machines that the server is not made for."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from dimstream_client.cli import main as client
from dimstream_models.training.cli import main as train
from dimstream_server.cli import main as server

COMMANDS = {"dimstream": client, "dimstream-server": server, "dimstream-train": train}
DISTRIBUTIONS = {
    "dimstream": "dimstream-client",
    "dimstream-server": "dimstream-server",
    "dimstream-train": "dimstream-models",
}

# Without the modules that Windows lacks; asyncio comes first: what it imports follows the platform's name.
ON_WINDOWS = """
import asyncio, contextlib, io, json, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios", "uvloop"):
    sys.modules[name] = None
from dimstream_server.cli import main
sys.platform = "win32"
said = []
for command in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(command)
        except SystemExit as end:
            code = end.code
    said.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(said))
"""
COMMAND_LINES = [
    ["serve"], ["demo"], ["bench"], ["recover", "x"], ["recordings", "x"], ["keygen", "x"], []
]  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        COMMANDS[name](["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{name} {version(DISTRIBUTIONS[name])}\n"


def test_on_windows_the_server_says_at_once_that_it_needs_linux_and_still_tells_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_WINDOWS, json.dumps([*COMMAND_LINES, ["--version"]])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *refusals, (code, version_line, _) = json.loads(done.stdout)
    assert (code, version_line) == (0, f"dimstream-server {version('dimstream-server')}\n")
    for command, (code, _, refusal) in zip(COMMAND_LINES, refusals, strict=True):
        assert code == 2, command
        assert refusal.count("\n") == 1, refusal
        assert "the server needs Linux, and this is Windows" in refusal
