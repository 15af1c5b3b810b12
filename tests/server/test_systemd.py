"""The service of systemd: its files are valid, fit each other and the page, and make a server that starts."""

import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from dimstream_server.cli import EXIT_CANNOT_START, main
from dimstream_server.security.access import read_access
from dimstream_server.settings_file import load_settings

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "server" / "systemd"
UNIT = SYSTEMD / "dimstream.service"
PAGE = (ROOT / "docs" / "without-docker.md").read_text(encoding="utf-8")
MOST_EXPOSURE = 15  # tenths


def analyze(*words: str | Path) -> str:
    """What systemd-analyze says of a unit."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not here: it comes with Debian's package `systemd`")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with the program that is installed here."""
    program = str(Path(sys.executable).with_name("dimstream-server"))
    text = UNIT.read_text(encoding="utf-8")
    moved = text.replace("/opt/dimstream/current/bin/dimstream-server", program)
    assert program in moved
    path = tmp_path / UNIT.name
    path.write_text(moved, encoding="utf-8")
    return path


def service() -> dict[str, list[str]]:
    """The values of each key of the unit's [Service]."""
    found: dict[str, list[str]] = {}
    for line in (
        UNIT.read_text(encoding="utf-8").partition("[Service]")[2].partition("[Install]")[0].splitlines()
    ):
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("with_gpu", [False, True], ids=["cpu", "gpu"])
def test_systemd_has_nothing_to_say_against_the_unit(unit: Path, with_gpu: bool) -> None:
    if with_gpu:
        folder = unit.with_name(f"{unit.name}.d")
        folder.mkdir()
        shutil.copy(SYSTEMD / "gpu.conf", folder)
    assert analyze("verify", "--man=no", unit) == ""


def test_the_service_is_locked_in(unit: Path) -> None:
    analyze("security", "--offline=yes", "--no-pager", f"--threshold={MOST_EXPOSURE}", unit)
    assert f"{1.4} of 10" in PAGE


def test_the_gpu_has_its_devices_and_keeps_the_rest() -> None:
    gpu = ConfigParser(strict=False, interpolation=None)
    gpu.read(SYSTEMD / "gpu.conf", encoding="utf-8")
    changed = {key.lower() for key in service()} & set(gpu["Service"])
    assert changed == {"privatedevices", "privateusers"}


def test_settings_unit_and_page_name_the_same_folders_and_times() -> None:
    settings, told = load_settings(SYSTEMD / "server.toml", {}), service()
    assert str(settings.server.state) == f"/var/lib/{told['StateDirectory'][0]}"
    assert [str(settings.recording.folder)] == told["ReadWritePaths"]
    assert int(told["TimeoutStopSec"][0].removesuffix("s")) > settings.server.drain_s
    assert told["RestartPreventExitStatus"] == [str(EXIT_CANNOT_START)]
    assert told["ExecStart"] == [
        "/opt/dimstream/current/bin/dimstream-server serve --config /etc/dimstream/server.toml"
    ]
    assert told["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert settings.recording.keep_days is None
    for path in (settings.server.state, settings.recording.folder, *settings.server.bundle_folders):
        assert f"| `{path}` |" in PAGE


def blocks() -> list[str]:
    """The page's commands."""
    return re.findall(r"^ *```sh\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_page_are_commands() -> None:
    assert len(blocks()) >= 6
    for block in blocks():
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), block


def test_what_the_page_makes_is_what_the_settings_name(tmp_path: Path) -> None:
    keys = [line.split() for block in blocks() for line in block.splitlines() if " keygen " in line]
    assert len(keys) == 3
    for words in keys:
        assert main([str(tmp_path) if word == "/etc/dimstream" else word for word in words[1:]]) == 0
    shutil.copy(SYSTEMD / "server.toml", tmp_path)
    access = read_access(load_settings(tmp_path / "server.toml", {}))
    assert access.secret_key is not None
    assert (len(access.tokens or ()), len(access.operator_tokens or ())) == (1, 1)
    shutil.copy(tmp_path / "server.pub", tmp_path / "clients" / "scope-3.pub")
    access.look()
    assert len(access.clients or ()) == 1
