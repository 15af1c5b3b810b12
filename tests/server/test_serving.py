"""The command line in processes of its own: ready file, both endpoints, refusals to start, clean stops."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq
from drafts import meaningless_config, png
from forked import Forked
from server_starts import start_server

from dimstream_client import Client
from dimstream_client.messages import Frame, Open, Opened, Result
from dimstream_client.wire import decode, encode
from dimstream_models.bundle import (
    Author,
    Bundle,
    BundleDraft,
    write_bundle,
)
from dimstream_models.shipped import SHIPPED_MODEL, shipped_bundle
from dimstream_server.cli import main

COMMAND = [sys.executable, "-m", "dimstream_server.cli"]
LOCAL = ["--zmq", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0"]
START_S = 60


@pytest.fixture(scope="module")
def bundle_path(tiny_bundle: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_identity(tiny_bundle, tmp_path_factory.mktemp("bundles") / "identity", "identity")


def write_identity(tiny_bundle: Callable[..., Bundle], path: Path, id: str) -> Path:
    """A bundle that gives what it gets."""
    counts = np.random.default_rng(0).poisson(3.0, (1, 1, 32, 32)).astype(np.float32)
    draft = BundleDraft(
        id=id,
        name="Identity",
        description="Gives what it gets.",
        authors=(Author(name="Ada Example"),),
        licence="BSD-3-Clause",
        documentation="# Identity\n\n## Validation\n\nNone.\n",
        cover=png(8, 8),
        onnx=tiny_bundle("identity").onnx,
        test_input=counts,
        test_output=counts,
        config=meaningless_config(),
    )
    write_bundle(path, draft)
    return path


class Process:
    """A server process; where it is fresh, it is started as a shell does it."""

    def __init__(self, arguments: list[str], ready_file: Path, *, fresh: bool) -> None:
        self.ready_file = ready_file
        self._log = ready_file.with_suffix(".log")
        words = ["serve", *arguments, "--ready-file", str(ready_file)]
        self.process: subprocess.Popen[bytes] | Forked
        if fresh:
            with self._log.open("wb") as log:
                self.process = subprocess.Popen([*COMMAND, *words], stderr=log)
        else:
            self.process = start_server(words, out=self._log)

    def ready(self) -> dict[str, Any]:
        deadline = time.monotonic() + START_S
        while not self.ready_file.exists():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        found: dict[str, Any] = json.loads(self.ready_file.read_text())  # atomic: never seen by half
        return found

    def log(self) -> str:
        return self._log.read_text()

    def logs(self, what: str, times: int) -> None:
        """Wait until its log holds this so many times."""
        deadline = time.monotonic() + START_S
        while self.log().count(what) < times:
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        return self.process.wait(START_S), self.log()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def make(*arguments: str, fresh: bool = False) -> Process:
        started.append(Process([*arguments], tmp_path / f"ready-{len(started)}.json", fresh=fresh))
        return started[-1]

    yield make
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """What a server that does not start says."""
    log = tmp_path / "refused.log"

    def said(*arguments: str) -> str:
        log.unlink(missing_ok=True)
        status = start_server(["serve", *arguments], out=log).wait(START_S)
        told = log.read_text()
        assert status == 2, told
        assert told.count("\n") == 1, told
        assert told.startswith("dimstream-server: ")
        return told

    return said


def next_seq(connection: http.client.HTTPConnection) -> int:
    """The frame that the only stream expects next: those before it were accepted."""
    connection.request("GET", "/v1/streams")
    (stream,) = json.loads(connection.getresponse().read())["streams"]
    return int(stream["next_seq"])


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_both_endpoints_serve_and_a_stop_answers_what_was_accepted(
    serve: Any, bundle_path: Path, number: signal.Signals
) -> None:
    running = serve("--bundle", str(bundle_path), *LOCAL, fresh=True)
    ready = running.ready()
    assert ready["pid"] == running.process.pid
    connection = http.client.HTTPConnection(ready["http"].removeprefix("http://"), timeout=60)
    connection.request("GET", "/v1/models")
    answer = json.loads(connection.getresponse().read())
    assert [model["id"] for model in answer["models"]] == ["identity"], answer
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(ready["zmq"])

    def receive() -> Any:
        assert dealer.poll(60_000)
        return decode(dealer.recv_multipart(), max_payload_bytes=1 << 30)

    dealer.send_multipart(encode(Open(client="test", shape=(256, 256), dtype="uint16")))
    opened = receive()
    assert isinstance(opened, Opened)
    counts = np.random.default_rng(0).poisson(3.0, (256, 256)).astype(np.uint16)
    for seq in range(8):
        dealer.send_multipart(encode(Frame(opened.stream, seq, counts)))
    deadline = time.monotonic() + START_S
    while next_seq(connection) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.process.send_signal(number)
    results = [receive() for _ in range(8)]
    assert all(isinstance(result, Result) for result in results)
    assert [result.seq for result in results] == list(range(8))
    np.testing.assert_array_equal(results[-1].pixels, counts)
    code, log = running.end()
    assert code == 0, log
    assert "Traceback" not in log
    assert not running.ready_file.exists()
    connection.close()
    context.destroy(linger=0)


@pytest.mark.slow
def test_a_file_says_it_all_and_the_command_line_wins(serve: Any, bundle_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "dimstream.toml"
    file.write_text(
        f'[server]\nbundles = ["{bundle_path}"]\ndevice = "cuda:0"\n'
        '[zmq]\nendpoint = "tcp://127.0.0.1:0"\n[http]\naddress = "127.0.0.1:0"\n'
    )
    running = serve("--config", str(file), "--device", "cpu")
    assert running.ready()["http"].startswith("http://127.0.0.1:")
    running.process.terminate()
    assert running.end()[0] == 0


@pytest.mark.slow
def test_a_second_server_on_the_same_ports_is_told_so(
    serve: Any, refused: Callable[..., str], bundle_path: Path
) -> None:
    running = serve("--bundle", str(bundle_path), *LOCAL)
    ready = running.ready()
    address = ready["http"].removeprefix("http://")
    bundle = ["--bundle", str(bundle_path)]
    said = refused(*bundle, "--http", address, "--zmq", "tcp://127.0.0.1:0")
    assert f"cannot bind the HTTP address {address}: Address already in use" in said
    said = refused(*bundle, "--http", "127.0.0.1:0", "--zmq", ready["zmq"])
    assert f"cannot bind the ZeroMQ endpoint {ready['zmq']}: Address already in use" in said


def test_wrong_settings_are_refused_in_one_line_and_with_exit_code_2(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mistyped = tmp_path / "mistyped.toml"
    mistyped.write_text("[zmq]\nendpont = 'tcp://127.0.0.1:0'\n")
    bundle = ["--bundle", str(bundle_path)]
    empty = tmp_path / "empty.toml"
    empty.write_text("[server]\nbundles = []\n")
    for arguments, said in (
        ([*LOCAL, "--config", str(empty)], "expected at least one bundle, got an empty list"),
        ([*bundle, "--config", str(mistyped)], "did you mean 'zmq.endpoint'?"),
        ([*bundle, "--http", "0.0.0.0:0"], "other machines"),
        ([*bundle, "--zmq", "tcp://*:0"], "other machines"),
        ([*bundle, *LOCAL, "--device", "gpu"], "server.device"),
    ):
        assert main(["serve", *arguments]) == 2
        refusal = capsys.readouterr().err
        assert refusal.count("\n") == 1
        assert refusal.startswith("dimstream-server: ")
        assert said in refusal


@pytest.mark.slow
def test_refusals_to_start_are_one_line_and_exit_code_2(
    refused: Callable[..., str], bundle_path: Path, tmp_path: Path
) -> None:
    bundle = ["--bundle", str(bundle_path)]
    assert "server.device" in refused(*bundle, *LOCAL, "--device", "gpu")
    assert str(tmp_path / "none") in refused("--bundle", str(tmp_path / "none"), *LOCAL)
    assert "identity" in refused(*bundle, *bundle, *LOCAL)
    unwritable = str(tmp_path / "no" / "ready.json")
    assert f"cannot write the ready file {unwritable}: there is no such folder" in refused(
        *bundle, *LOCAL, "--ready-file", unwritable
    )


def models_of(ready: dict[str, Any]) -> list[str]:
    with urllib.request.urlopen(f"{ready['http']}/v1/models", timeout=60) as answer:
        return [model["id"] for model in json.load(answer)["models"]]


@pytest.mark.slow
def test_without_a_bundle_the_one_that_ships_is_served_and_named_in_the_log(serve: Any) -> None:
    running = serve(*LOCAL)
    assert models_of(running.ready()) == [SHIPPED_MODEL]
    running.process.terminate()
    code, log = running.end()
    assert code == 0
    (line,) = [line for line in log.splitlines() if "event=shipped_bundle" in line]
    assert "level=warning" in line
    assert "trained on simulated frames only" in line
    assert f"model={SHIPPED_MODEL} path={shipped_bundle()}" in line


@pytest.mark.slow
def test_a_bundle_of_the_settings_file_is_served_and_the_one_that_ships_is_not(
    serve: Any, refused: Callable[..., str], bundle_path: Path, tmp_path: Path
) -> None:
    named = tmp_path / "named.toml"
    named.write_text(f"[server]\nbundles = [{str(bundle_path)!r}]\n")
    running = serve(*LOCAL, "--config", str(named))
    assert models_of(running.ready()) == ["identity"]
    running.process.terminate()
    assert "shipped_bundle" not in running.end()[1]
    named.write_text("[server]\nbundles = ['missing']\n")
    assert str(tmp_path / "missing") in refused(*LOCAL, "--config", str(named))


@pytest.mark.slow
def test_sighup_reads_the_list_of_bundles_again_and_stops_no_stream(
    serve: Any, bundle_path: Path, tiny_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    other = write_identity(tiny_bundle, tmp_path / "other", "other")
    settings = tmp_path / "dimstream.toml"

    def write(*bundles: Path, more: str = "") -> None:
        unfinished = tmp_path / "unfinished.toml"
        unfinished.write_text(f"[server]\nbundles = {[str(path) for path in bundles]}\n{more}")
        unfinished.replace(settings)  # it may be read at any time

    write(bundle_path)
    running = serve(*LOCAL, "--config", str(settings), "--log-format", "json")
    ready = running.ready()

    def reload(event: str = "reloaded") -> list[str]:
        """The models once all is done: they are told before what is not named any more is unloaded."""
        told = f'"event": "{event}"'
        before = running.log().count(told)
        running.process.send_signal(signal.SIGHUP)
        running.logs(told, before + 1)
        return models_of(ready)

    counts = np.random.default_rng(0).poisson(3.0, (64, 64)).astype(np.uint16)
    with Client(ready["zmq"]) as client, client.open(shape=(64, 64), dtype="uint16") as stream:

        def denoise() -> None:
            stream.send(counts)
            result = stream.take(timeout_s=START_S)
            assert result is not None
            np.testing.assert_array_equal(result.pixels, counts)

        denoise()
        write(bundle_path, other)
        assert reload() == ["identity", "other"]
        denoise()
        write(bundle_path, more="colour = 1\n")  # unknown: nothing changes
        assert reload("reload_failed") == ["identity", "other"]
        write(bundle_path, tmp_path / "missing", more="drain_s = 5\n")
        assert reload() == ["identity"]
        denoise()
        write(other)  # the stream needs the one that is not named any more
        assert reload() == ["identity", "other"]
        denoise()
        stream.close()
    running.process.terminate()
    code, log = running.end()
    assert code == 0, log
    told = [json.loads(line) for line in log.splitlines()]
    events = {one["event"]: one for one in told}
    assert events["restart_needed"]["keys"] == ["server.drain_s"]
    assert str(tmp_path / "missing") in [one.get("path") for one in told if one["event"] == "reload_failed"]
    assert events["model_kept"]["model"] == "identity"
    assert events["reloaded"]["models"] == ["identity", "other"]


@pytest.mark.slow
def test_systemd_is_told_when_the_server_is_ready_and_when_it_stops(
    serve: Any, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(START_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        running = serve("--bundle", str(bundle_path), *LOCAL)
        assert supervisor.recv(100) == b"READY=1"
        assert models_of(running.ready()) == ["identity"]
        running.process.terminate()
        assert supervisor.recv(100) == b"STOPPING=1"
        assert running.end()[0] == 0


@pytest.mark.slow
def test_a_supervisor_that_is_gone_hinders_nothing(
    serve: Any, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@dimstream-nobody-is-here")
    running = serve("--bundle", str(bundle_path), *LOCAL)
    assert models_of(running.ready()) == ["identity"]
    running.process.terminate()
    code, log = running.end()
    assert code == 0
    assert log.count("event=notify_failed") == 2


@pytest.mark.slow
def test_asked_for_cuda_without_one_is_a_refusal(refused: Callable[..., str], bundle_path: Path) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is a CUDA device here")
    assert "cuda:0" in refused("--bundle", str(bundle_path), *LOCAL, "--device", "cuda:0")


@pytest.mark.slow
def test_ports_are_free_again_after_a_stop(serve: Any, bundle_path: Path) -> None:
    running = serve("--bundle", str(bundle_path), *LOCAL)
    host, port = running.ready()["http"].removeprefix("http://").split(":")
    running.process.terminate()
    assert running.end()[0] == 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, int(port)))
