"""dimstream without its checkout: wheels in bare environments, used from an empty folder."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from shipped import BUNDLE, MODEL

from dimstream_client import Client
from dimstream_models.analysis.cli import COMMANDS as ANALYSIS_COMMANDS
from dimstream_models.training.cli import COMMANDS as TRAINING_COMMANDS
from dimstream_server.cli import main as dimstream_server
from dimstream_server.server_process import RunningServer

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = ("client", "models", "server")
UV = [sys.executable, "-m", "uv", "--no-config", "pip"]
START_S = 60

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(
    command: Sequence[str | Path], cwd: Path, *, timeout_s: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run it as a user would: with nothing of this checkout in its environment or folder."""
    words = [str(word) for word in command]
    return subprocess.run(
        words, cwd=cwd, env=own_environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def own_environment() -> dict[str, str]:
    """Return the variables of these tests, without those that could show a program this checkout."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "DIMSTREAM"))}


def done(command: Sequence[str | Path], cwd: Path) -> str:
    """Return what a command that must succeed prints."""
    ended = run(command, cwd)
    assert ended.returncode == 0, f"{command}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout


def install(
    where: Sequence[str | Path], what: Sequence[str | Path], cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Install by uv, which takes a tenth of pip's time, from where pip finds packages on this machine."""
    found = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    assert found is not None
    assert found.loader is not None
    ours = importlib.util.module_from_spec(found)
    found.loader.exec_module(ours)
    settings = done([sys.executable, "-m", "pip", "config", "list"], cwd)
    return run([*UV, "install", "--quiet", *where, *ours.options_of(settings), *what], cwd)


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


# Runs a program again and again, each time in a process of its own that is forked when all is imported.
EACH = """
import json, os, sys
from importlib.metadata import distributions

(program,) = [each for one in distributions() for each in one.entry_points if each.name == sys.argv[1]]
main = program.load()
for number, words in enumerate(json.load(sys.stdin)):
    process = os.fork()
    if process == 0:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{sys.argv[2]}/{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
        sys.argv = [sys.argv[1], *words]
        sys.exit(main())
    status = os.waitpid(process, 0)[1]
    print(os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status), flush=True)
"""


class Environment:
    """A virtual environment without this project's tools; uv is that of the tests."""

    def __init__(self, folder: Path, python: str) -> None:
        self.bin, self.empty = folder / "venv" / "bin", folder / "empty"
        self.empty.mkdir(parents=True)
        done([python, "-m", "venv", "--without-pip", folder / "venv"], folder)

    def install(self, *what: str | Path, tested: Path | None) -> None:
        """Install, at the versions that were tested where these are for this Python."""
        versions = ["--constraint", tested] if tested is not None else []
        ended = install(["--python", self.bin / "python", *versions], what, self.empty)
        assert ended.returncode == 0, ended.stderr

    def installed(self) -> set[str]:
        """Return the names of its distributions."""
        listed = done([*UV, "list", "--python", self.bin / "python", "--format=freeze"], self.empty)
        return {line.partition("==")[0] for line in listed.split()}

    def run(self, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run one of its commands in the empty folder."""
        return run([self.bin / name, *arguments], self.empty)

    def run_each(self, program: str, commands: Sequence[Sequence[str]]) -> list[Said]:
        """Run one of its programs with these words each, in the empty folder; it is imported once.

        The first ones are its script's, too, which says the same.
        """
        with tempfile.TemporaryDirectory() as folder:
            ended = subprocess.run(
                [self.bin / "python", "-c", EACH, program, folder],
                cwd=self.empty,
                env=own_environment(),
                input=json.dumps(commands),
                capture_output=True,
                text=True,
                timeout=START_S,
                check=False,
            )
            assert ended.returncode == 0, ended.stderr
            printed = [
                [(Path(folder) / f"{number}.{name}").read_text() for name in ("out", "err")]
                for number in range(len(commands))
            ]
        said = [Said(int(status), *each) for status, each in zip(ended.stdout.split(), printed, strict=True)]
        script = self.run(program, *commands[0])
        assert said[0] == Said(script.returncode, script.stdout, script.stderr)
        return said

    @contextmanager
    def serving(self, *arguments: str | Path) -> Iterator[tuple[dict[str, Any], list[str]]]:
        """`dimstream-server serve`; its addresses, and its log once it has ended."""
        ready, log = self.empty / "ready.json", self.empty / "server.log"
        command = [str(self.bin / "dimstream-server"), "serve", *map(str, arguments)]
        free = ["--zmq", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--ready-file", str(ready)]
        lines: list[str] = []
        with (
            log.open("wb") as stderr,
            subprocess.Popen(
                [*command, *free], cwd=self.empty, stderr=stderr, env=own_environment()
            ) as process,
        ):
            try:
                wait_for(ready, process, log)
                yield json.loads(ready.read_text()), lines
                process.terminate()
                assert process.wait(START_S) == 0, log.read_text()
            finally:
                process.kill()
        lines += log.read_text().splitlines()


def wait_for(ready: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not ready.exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` makes."""
    folder = tmp_path_factory.mktemp("dist")
    probe = install(["--target", folder / "probe"], ["hatchling>=1.27,<2"], folder)
    if probe.returncode:
        pytest.skip(f"no package registry can be reached: {probe.stderr.strip().splitlines()[-1]}")
    if not shutil.which("make"):
        pytest.skip("make is not here, and `make dist` is what is tested")
    made = folder / "made"
    places = [f"DIST={made}", f"BIN={Path(sys.executable).parent}"]
    done(["make", "--directory", ROOT, "--assume-old=.venv/.installed", "dist", *places], folder)
    return made


def wheel(dist: Path, name: str) -> Path:
    (found,) = dist.glob(f"dimstream_{name}-*.whl")
    return found


# Commands that need an extra, and the one that each needs first.
SERVER = {"serve": "cpu", "gateway": "cpu", "bench": "cpu", "plan": "cpu", "demo": "demo"}
SERVER_WORDS = {"gateway": ["--worker", "tcp://127.0.0.1:1"]}
SERVER_WITHOUT_EXTRA = {"keygen", "alerts", "recordings", "recover"}
# Enough to get past each command's parser.
TRAINING = {
    "simulate": ["--out", "days", "--days", "1", "--fields", "1", "--side", "64"],
    "prepare": ["day", "--out", "p"],
    "fit": ["r.yaml", "--run", "r"],
    "search": ["r.yaml", "--study", "s"],
    "importance": ["s", "--out", "i"],
    "calibrate": ["b", "--signal", "s.tif", "--dark", "d.tif"],
    "export": ["r", "--out", "b"],
    "evaluate": ["b", "p", "--out", "e"],
    "compare": ["b", "--name", "n", "--noisy", "n.tif", "--out", "c"],
    "audit": ["b", "--out", "a"],
    "forecast": ["b", "--out", "a"],
    "import-keras": ["w", "--config", "c", "--out", "b"],
    "bench": ["--out", "b"],
    "import-ernet": ["c", "--weights", "w", "--out", "b", "--pixel-size-nm", "40"],
    "segment": ["--run", "r", "--out", "b", "--documentation", "d.md"],
    "stress": ["b", "--out", "s"],
    "error-bar": ["b"],
    "error-bar-check": ["b", "--out", "s"],
    "adapt": ["b", "m.tif", "--out", "n"],
    "adapt-live": ["--server", "http://127.0.0.1:1", "--stream", "s", "--recordings", "r", "--out", "n"],
}
WITHOUT_EXTRA = ("init",)
ANALYSIS = {
    "run": ["m.tif", "--classical", "--out", "o"],
    "report": ["c", "--out", "o"],
    "video": ["m.tif", "--out", "o.mp4"],
    "volume": ["s.tif", "--planes", "0", "1", "--out", "o"],
    "compare": ["--condition", "a", "f", "--out", "o"],
    "dose-effect": ["--out", "o"],
    "follow": [],
    "segmenter-check": ["--out", "o"],
}


@dataclass(frozen=True)
class Bare:
    """An environment while it had no extra: what commands said that need one."""

    environment: Environment
    server: dict[str, Said]
    training: dict[str, Said]
    analysis: dict[str, Said]


@pytest.fixture(scope="module")
def bare(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Bare:
    """All three distributions, without any extra."""
    environment = Environment(tmp_path_factory.mktemp("bare"), sys.executable)
    environment.install(*(wheel(dist, name) for name in DISTRIBUTIONS), tested=dist / "constraints.txt")
    server = {name: [name, *SERVER_WORDS.get(name, [])] for name in SERVER}
    training, analysis = (
        {name: [name, *words] for name, words in each.items()} for each in (TRAINING, ANALYSIS)
    )
    programs = {"dimstream-server": server, "dimstream-train": training, "dimstream-analyse": analysis}
    said = (
        dict(zip(commands, environment.run_each(program, [*commands.values()]), strict=True))
        for program, commands in programs.items()
    )
    return Bare(environment, *said)


@pytest.fixture(scope="module")
def complete(dist: Path, bare: Bare) -> Environment:
    """The same with the extras that the sentences name, and an empty folder again."""
    assert not list(bare.environment.empty.iterdir()), "a command that refused has left something"
    bare.environment.install(f"{wheel(dist, 'server')}[cpu,demo]", tested=dist / "constraints.txt")
    return bare.environment


def test_wheels_hold_licence_readme_and_types_and_nothing_else_of_the_checkout(dist: Path) -> None:
    for name in DISTRIBUTIONS:
        with zipfile.ZipFile(wheel(dist, name)) as archive:
            names = archive.namelist()
            (metadata,) = (each for each in names if each.endswith(".dist-info/METADATA"))
            info, package = metadata.partition("/")[0], f"dimstream_{name}"
            assert {each.partition("/")[0] for each in names} == {info, package}
            assert {f"{package}/py.typed", f"{info}/licenses/LICENSE"} <= set(names)
            assert not [each for each in names if "test" in each.lower() and not each.endswith(".npy")]
            assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
            head, _, description = archive.read(metadata).decode().partition("\n\n")
            assert description == (ROOT / name / "README.md").read_text(encoding="utf-8")
            assert not re.search(r"^(Project-URL|Home-page|Download-URL):", head, re.MULTILINE)


def test_all_distributions_have_one_version_and_want_each_other_in_it(dist: Path) -> None:
    versions = {wheel(dist, name).name.split("-")[1] for name in DISTRIBUTIONS}
    assert len(versions) == 1
    ours = []
    for name in DISTRIBUTIONS:
        with zipfile.ZipFile(wheel(dist, name)) as archive:
            (metadata,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
            ours += re.findall(
                r"^Requires-Dist: (dimstream.*)$", archive.read(metadata).decode(), re.MULTILINE
            )
    assert ours
    assert all(f"=={version}" in each for each in ours for version in versions), ours


BIOIMAGEIO = "import sys; from bioimageio.core import test_model; print(test_model(sys.argv[1]).status)"


def test_the_zip_is_the_bundle_that_ships_and_bioimageio_finds_it_valid(dist: Path) -> None:
    with zipfile.ZipFile(dist / f"{MODEL}.zip") as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    files = (path for path in BUNDLE.rglob("*") if path.is_file())
    assert packed == {path.relative_to(BUNDLE).as_posix(): path.read_bytes() for path in files}
    said = done([sys.executable, "-c", BIOIMAGEIO, dist / f"{MODEL}.zip"], dist)
    assert said.splitlines()[-1] == "passed"


# Prints the flags of a stream, and a hash of its pixels.
STREAM = """
import hashlib, sys
import numpy as np
from dimstream_client import Client

frames = np.load(sys.argv[2])
with Client(sys.argv[1]) as client:
    results = list(client.stream(frames))
print([result.flag for result in results])
print(hashlib.sha256(b"".join(result.pixels.tobytes() for result in results)).hexdigest())
"""


def pythons() -> dict[str, str | None]:
    """This Python, and the oldest that the client supports where it can be had."""
    own = shutil.which("python3.9")
    kept = sorted(Path.home().glob(".pyenv/versions/3.9.*/bin/python"))
    oldest = str(kept[-1]) if kept else own
    return {"this": sys.executable, "3.9": oldest}


@pytest.mark.parametrize("python", pythons())
def test_the_client_alone_streams_with_numpy_and_pyzmq(
    python: str, dist: Path, server: RunningServer, sample: NDArray[np.uint16], tmp_path: Path
) -> None:
    interpreter = pythons()[python]
    if interpreter is None:
        pytest.skip(f"there is no Python {python} here")
    environment = Environment(tmp_path, interpreter)
    environment.install(wheel(dist, "client"), tested=dist / "constraints.txt" if python == "this" else None)
    assert environment.installed() - {"setuptools"} == {"dimstream-client", "numpy", "pyzmq"}
    frames = sample[:3, :64, :64]
    np.save(tmp_path / "frames.npy", frames)
    said = environment.run("python", "-c", STREAM, server.zmq, tmp_path / "frames.npy")
    assert said.returncode == 0, said.stderr
    with Client(server.zmq) as client:
        expected = list(client.stream(frames))
    flags, digest = said.stdout.split("\n")[:2]
    assert flags == str([result.flag for result in expected])
    assert digest == hashlib.sha256(b"".join(result.pixels.tobytes() for result in expected)).hexdigest()
    assert environment.run("dimstream", "ping", "--server", server.zmq).returncode == 0
    assert_every_command_speaks(environment, server)


def assert_every_command_speaks(environment: Environment, server: RunningServer) -> None:
    """Without `[tiff]` a command does its work, or names the extra, in one line."""
    np.save(environment.empty / "a.npy", np.zeros((8, 8), np.uint16))
    (environment.empty / "a.tif").write_bytes(b"II*\0" + bytes(20))
    commands = {
        "stream": ["a.tif", "b.tif", "--server", server.zmq],
        "denoise": ["a.tif", "b.tif", "--server", server.http],
        "view": ["a.tif"],
        "watch": [".", "--server", server.zmq],
        "micromanager": ["a.cfg", "--frames", "1", "--server", server.zmq],
        "models": ["--server", server.http],
        "ping": ["--server", server.zmq],
        "keygen": ["keys"],
    }
    listed = environment.run("dimstream", "--help").stdout
    assert set(re.findall(r"^    (\w[\w-]*)(?: |$)", listed, re.MULTILINE)) == set(commands)
    asked = [[name, *words] for name, words in commands.items()]
    asked.append(["stream", "a.npy", "c.tif", "--server", server.zmq])
    for (name, *_), ended in zip(asked, environment.run_each("dimstream", asked), strict=True):
        assert ended.returncode in {0, 2, 3, 4}, ended.stderr
        assert "Traceback" not in ended.stderr
        if name in {"stream", "view", "watch"}:
            assert_one_sentence(ended, '"dimstream-client[tiff]"')
        if name == "micromanager":
            assert_one_sentence(ended, '"dimstream-client[tiff,micromanager]"')


def assert_one_sentence(ended: Said, extra: str) -> None:
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert extra in ended.stderr


def test_without_an_extra_the_server_names_it_in_one_sentence(
    bare: Bare, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        dimstream_server(["--help"])
    listed = re.findall(r"^    (\w[\w-]*)(?: |$)", capsys.readouterr().out, re.MULTILINE)
    assert {*listed} == {*SERVER, *SERVER_WITHOUT_EXTRA}
    for command, said in bare.server.items():
        assert_one_sentence(said, f'pip install "dimstream-server[{SERVER[command]}]"')


def test_without_train_every_training_command_names_the_extra(bare: Bare) -> None:
    known = {module.__name__.rpartition(".")[2].replace("_", "-") for module in TRAINING_COMMANDS}
    assert known == {*TRAINING, *WITHOUT_EXTRA}
    for said in bare.training.values():
        assert_one_sentence(said, "dimstream-models[train]")


def test_without_analysis_every_command_of_it_names_the_extra(bare: Bare) -> None:
    known = {module.__name__.rpartition(".")[2].replace("_", "-") for module in ANALYSIS_COMMANDS}
    assert known == {*ANALYSIS}
    for said in bare.analysis.values():
        assert_one_sentence(said, "dimstream-models[analysis]")


def test_the_demo_runs_in_an_empty_folder(complete: Environment) -> None:
    said = complete.run("dimstream-server", "demo", "--interval", "0")
    assert said.returncode == 0, said.stderr
    assert "48 frames" in said.stdout
    shown = [Path(each) for each in re.findall(r"demo/[\w.]+", said.stdout)]
    assert shown
    assert all((complete.empty / each).is_file() for each in shown)
    installed = complete.installed()
    assert "onnxruntime" in installed
    assert "torch" not in installed


def test_the_server_serves_what_ships_and_the_zip_alike(
    complete: Environment, dist: Path, sample: NDArray[np.uint16]
) -> None:
    tifffile.imwrite(
        complete.empty / "in.tif", sample[:2], photometric="minisblack", metadata={"axes": "TYX"}
    )
    streamed = []
    for where in ([], ["--bundle", dist / f"{MODEL}.zip"]):
        with complete.serving(*where) as (ready, log):
            asked = ["stream", "in.tif", "out.tif", "--server", ready["zmq"], "--quiet"]
            said = complete.run("dimstream", *asked)
            assert said.returncode == 0, said.stderr
            listed = complete.run("dimstream", "models", "--server", ready["http"]).stdout
            streamed.append((listed, tifffile.imread(complete.empty / "out.tif").tobytes()))
        assert any("event=shipped_bundle" in line for line in log) == (not where)
        (first,) = (line for line in log if "event=ready" in line)
        assert f"version={wheel(dist, 'server').name.split('-')[1]}" in first
    assert streamed[0] == streamed[1]
    assert streamed[0][0].startswith(f"{MODEL}\t")
