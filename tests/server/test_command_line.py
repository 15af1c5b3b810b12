"""What the commands say of themselves, and on machines that the server is not made for."""

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
import asyncio, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios", "uvloop"):
    sys.modules[name] = None
from dimstream_server.cli import main
sys.platform = "win32"
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        COMMANDS[name](["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{name} {version(DISTRIBUTIONS[name])}\n"


def on_windows(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ON_WINDOWS, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "command", [["serve"], ["demo"], ["bench"], ["recover", "x"], ["recordings", "x"], ["keygen", "x"], []]
)
def test_on_windows_the_server_says_at_once_that_it_needs_linux(command: list[str]) -> None:
    done = on_windows(*command)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "the server needs Linux, and this is Windows" in done.stderr


def test_on_windows_the_server_still_tells_its_version() -> None:
    assert on_windows("--version").stdout.startswith("dimstream-server ")
