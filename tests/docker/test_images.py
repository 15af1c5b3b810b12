"""The images, built as their Dockerfiles stand there, and a server in a container with keys and a token."""

import http.client
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from buildah import Buildah, folder_for_images, skip_without_tools

from dimstream_client import Client
from dimstream_client.keys import TOKEN, make_pair, make_token, read_only_entry, read_secret

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
USER = 10001
PATIENCE_S = 120
FRAMES = np.random.default_rng(0).poisson(3.0, (8, 256, 256)).astype(np.uint16)
ALL_IMAGES = os.environ.get("DIMSTREAM_IMAGES") == "all"


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """A store with the base of both images; both are built in it, so that the base is made once."""
    skip_without_tools()
    parent = folder_for_images(tmp_path_factory.getbasetemp())
    with tempfile.TemporaryDirectory(prefix="dimstream-images-", dir=parent) as folder:
        buildah = Buildah(Path(folder))
        buildah.make_base("ubuntu:24.04")
        yield buildah


@dataclass(frozen=True)
class Served:
    """A server in a container."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    mounts: dict[str, Path]
    own: Path

    @property
    def token(self) -> str:
        return read_only_entry(self.mounts["/run/secrets/http.tokens"], TOKEN).value

    def client(self) -> Client:
        """Return a client with keys."""
        return Client(
            self.ready["zmq"], key=self.own / "scope.key", server_key=self.own / "server.pub", timeout_s=60
        )

    def get(self, path: str, token: str | None) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        connection = http.client.HTTPConnection(self.ready["http"].removeprefix("http://"), timeout=60)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> str:
        """Send SIGTERM to the server; return its log."""
        os.kill(self.ready["pid"], signal.SIGTERM)
        log, _ = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, log
        return log


def what_compose_mounts(folder: Path) -> dict[str, Path]:
    """Make keys, a token and folders as docs/docker.md says; return them by their paths in the container."""
    own = folder / "own"
    clients, state, recordings = (folder / name for name in ("clients", "state", "recordings"))
    for made in (own, clients, state, recordings):
        made.mkdir()
    server_key, _ = make_pair(own, "server")
    _, public = make_pair(own, "scope")
    token = make_token(own, "ada")
    shutil.copy(public, clients)
    for path in (server_key, token, state, recordings):
        os.chown(path, USER, USER)
    return {
        "/run/secrets/server.key": server_key,
        "/run/secrets/http.tokens": token,
        "/etc/dimstream/clients": clients,
        "/state": state,
        "/recordings": recordings,
    }


@contextmanager
def serving(buildah: Buildah, container: str, command: list[str], folder: Path) -> Iterator[Served]:
    """The image's own command line, on the CPU and on free ports of loopback."""
    mounts = what_compose_mounts(folder)
    free = ["--zmq", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--device", "cpu"]
    process = buildah.start(container, mounts, *command, *free, "--ready-file", "/state/ready.json")
    ready = mounts["/state"] / "ready.json"
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None)
        assert process.poll() is None, process.communicate()[0]
        yield Served(process, json.loads(ready.read_text()), mounts, folder / "own")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not true within {PATIENCE_S} s"
        time.sleep(0.05)


def assert_it_holds_what_it_needs_and_no_more(buildah: Buildah, container: str) -> None:
    names = "import importlib.metadata as m, os; print(os.getuid(), *(d.name for d in m.distributions()))"
    listed = buildah.run(container, "/opt/dimstream/bin/python", "-c", names)
    assert listed.returncode == 0, listed.stderr
    user, *installed = listed.stdout.lower().split()
    assert user == str(USER)
    assert {"dimstream-server", "dimstream-client", "dimstream-models", "onnxruntime"} <= set(installed)
    assert not set(installed) & {"torch", "pip", "optuna", "pytest", "matplotlib"}
    assert buildah.run(container, "sh", "-c", "command -v cc gcc make pip pip3").returncode != 0


def assert_a_stream_with_keys_is_recorded(served: Served) -> None:
    with served.client() as client:
        flags = [result.flag for result in client.stream(FRAMES, save=True)]
    assert len(flags) == len(FRAMES)
    (recording,) = served.mounts["/recordings"].iterdir()
    assert recording.stat().st_uid == USER
    np.testing.assert_array_equal(tifffile.imread(recording / "raw.ome.tif"), FRAMES)
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=recording).returncode == 0


def assert_sigterm_answers_every_accepted_frame(served: Served) -> str:
    """Return the log."""
    with served.client() as client:
        stream = client.open(FRAMES.shape[1:], FRAMES.dtype, window=len(FRAMES))
        for frame in FRAMES:
            stream.send(frame)

        def accepted() -> int:
            (listed,) = json.loads(served.get("/v1/streams", served.token)[1])["streams"]
            return int(listed["next_seq"])

        wait_until(lambda: accepted() == len(FRAMES))
        os.kill(served.ready["pid"], signal.SIGTERM)
        results = [stream.take(timeout_s=60) for _ in FRAMES]
        assert [result and result.seq for result in results] == list(range(len(FRAMES)))
    log, _ = served.process.communicate(timeout=PATIENCE_S)
    assert served.process.returncode == 0, log
    return log


def assert_the_log_is_complete_and_keeps_secrets(log: str, served: Served) -> None:
    events = [json.loads(line) for line in log.splitlines()]
    assert {"ready", "shipped_bundle", "draining"} <= {event["event"] for event in events}
    assert events[-1]["event"] == "stopped"
    assert events[-1]["complete"] is True
    assert served.token not in log
    for key in ("server", "scope"):
        assert read_secret(served.own / f"{key}.key")[1].decode() not in log


def test_the_server_image_is_built_serves_with_keys_records_and_drains(
    buildah: Buildah, tmp_path: Path
) -> None:
    image = buildah.build(DOCKER / "server.Dockerfile", ROOT, "--build-arg", "DEVICE=cpu")
    config = buildah.config(image)
    assert config["User"] == f"{USER}:{USER}"
    _, *health = config["Healthcheck"]["Test"]
    with buildah.container(image) as container:
        assert_it_holds_what_it_needs_and_no_more(buildah, container)
        with serving(buildah, container, [*config["Entrypoint"], *config["Cmd"]], tmp_path) as served:
            asked = [word.replace("http://127.0.0.1:8570", served.ready["http"]) for word in health]
            healthy = buildah.run(container, *asked)
            assert healthy.returncode == 0, healthy.stdout + healthy.stderr
            assert json.loads(healthy.stdout)["ready"] is True
            assert served.get("/readyz", None)[0] == 200
            assert served.get("/metrics", None)[0] == 401
            assert b"dimstream_ready 1.0" in served.get("/metrics", served.token)[1]
            assert_a_stream_with_keys_is_recorded(served)
            log = assert_sigterm_answers_every_accepted_frame(served)
            assert_the_log_is_complete_and_keeps_secrets(log, served)
        sick = buildah.run(container, *asked)
        assert sick.returncode == 1
        assert "Connection refused" in sick.stdout


@pytest.mark.skipif(not ALL_IMAGES, reason="takes minutes and 10 GB: DIMSTREAM_IMAGES=all builds it")
def test_the_training_image_is_built_and_starts(buildah: Buildah) -> None:
    image = buildah.build(DOCKER / "training.Dockerfile", ROOT)
    config = buildah.config(image)
    with buildah.container(image) as container:
        helped = buildah.run(container, *config["Entrypoint"], *config["Cmd"])
        assert helped.returncode == 0, helped.stderr
        assert "prepare" in helped.stdout
        version = buildah.run(container, *config["Entrypoint"], "--version")
        assert importlib.metadata.version("dimstream-models") in version.stdout
