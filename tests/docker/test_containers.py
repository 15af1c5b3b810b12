"""The containers without a Docker engine: linted, resolved, and the server's install steps carried out."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dockerfiles import Shed, stages, steps

from dimstream_client.keys import TOKEN, make_pair, make_token, read_only_entry, read_secret
from dimstream_server.settings import load_settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
SERVER = DOCKER / "server.Dockerfile"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
START_S = 90
MOUNTED_BUNDLES = "/bundles"


def tool(name: str) -> str:
    """Path of a program beside this Python, or anywhere; the test is skipped where there is none."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not here: .ci/dev-requirements.txt has it for Linux on x86-64")
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    done = subprocess.run([tool("hadolint"), path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_nobody_and_takes_no_secrets_in(path: Path) -> None:
    final = stages(path)["final"]
    assert [step.text for step in final if step.name == "USER"] == ["10001:10001"]
    copied = [step.text for step in final if step.name == "COPY"]
    assert all(re.match(r"(--from=build /opt/|docker/(health\.py|server\.toml) )", text) for text in copied)
    ignored = path.with_name(f"{path.name}.dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert not any("keys" in line for line in ignored if line.startswith("!"))


def composed(*files: str, **environment: str) -> dict[str, Any]:
    command = [tool("docker-compose"), "--profile", "monitoring"]
    for name in files:
        command += ["--file", str(DOCKER / name)]
    done = subprocess.run(
        [*command, "config", "--format", "json"],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    config: dict[str, Any] = json.loads(done.stdout)
    return config


def seconds(text: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", text))


def test_compose_locks_its_services_in() -> None:
    services = composed("compose.yaml", DIMSTREAM_ADDRESS="192.0.2.10")["services"]
    assert set(services) == {"dimstream", "prometheus"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {port["host_ip"] for port in service["ports"]} <= {"127.0.0.1", "192.0.2.10"}
        assert "privileged" not in service
    server = services["dimstream"]
    assert {port["target"]: port["host_ip"] for port in server["ports"]} == dict.fromkeys(
        (5570, 8570), "192.0.2.10"
    )
    writable = {volume["target"] for volume in server["volumes"] if not volume.get("read_only")}
    assert writable == {"/state", "/recordings"}
    assert server["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert {port["host_ip"] for port in composed("compose.yaml")["services"]["dimstream"]["ports"]} == {
        "127.0.0.1"
    }


def test_compose_waits_longer_than_the_server_drains_and_mounts_what_its_settings_name() -> None:
    server = composed("compose.yaml")["services"]["dimstream"]
    settings = tomllib.loads((DOCKER / "server.toml").read_text(encoding="utf-8"))
    assert seconds(server["stop_grace_period"]) > settings["server"]["drain_s"]
    mounted = {volume["target"] for volume in server["volumes"]}
    secrets = {f"/run/secrets/{secret['target']}" for secret in server["secrets"]}
    assert settings["server"]["state"] in mounted
    assert settings["recording"]["folder"] in mounted
    assert settings["zmq"]["allowed_clients"] in mounted
    assert MOUNTED_BUNDLES in mounted
    assert {settings["zmq"]["server_secret_key"], settings["http"]["tokens"]} == secrets
    ports = {
        int(settings[table][key].rpartition(":")[2])
        for table, key in (("zmq", "endpoint"), ("http", "address"))
    }
    assert {port["target"] for port in server["ports"]} == ports
    exposed = next(step.text for step in steps(SERVER) if step.name == "EXPOSE")
    assert set(map(int, exposed.split())) == ports


def test_without_a_gpu_none_is_asked_for() -> None:
    server = composed("compose.yaml", "compose.cpu.yaml")["services"]["dimstream"]
    assert not server.get("deploy")
    assert server["build"]["args"]["DEVICE"] == "cpu"
    assert server["command"][-2:] == ["--device", "cpu"]
    assert server["read_only"] is True


def test_the_base_image_has_the_cuda_that_the_pinned_onnx_runtime_is_built_for() -> None:
    base = next(step.text for step in steps(SERVER) if step.name == "FROM" and step.text.endswith(" AS gpu"))
    cuda = re.search(r"nvidia/cuda:(\d+)\.\S+-cudnn-runtime-", base)
    pinned = re.search(
        r"^onnxruntime-gpu==1\.(\d+)", (ROOT / ".ci" / "constraints.txt").read_text(), re.MULTILINE
    )
    assert cuda is not None
    assert pinned is not None
    built_for = {range(19, 27): "12", range(27, 33): "13"}  # minor versions of ONNX Runtime on PyPI
    assert [major for minors, major in built_for.items() if int(pinned[1]) in minors] == [cuda[1]]


@dataclass
class Installed:
    """The image's folders under `root`, as its Dockerfile has filled them."""

    root: Path
    shed: Shed

    def command(self, name: str) -> list[str]:
        """The words of ENTRYPOINT, CMD or HEALTHCHECK."""
        text = next(step.text for step in stages(SERVER)["final"] if step.name == name)
        words: list[str] = json.loads(text[text.index("[") :])
        return [self.shed.moved(word) for word in words]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("image")
    places = (
        "/opt/dimstream",
        "/wheels",
        "/etc/dimstream",
        "/run/secrets",
        "/bundles",
        "/state",
        "/recordings",
    )
    shed = Shed(root, ROOT, str(Path(sys.executable).parent), places)
    (root / "opt").mkdir()
    found = stages(SERVER)
    runtime = next(step.text for step in found["cpu"] if step.name == "ENV").removeprefix("ONNX_RUNTIME=")
    shed.carry_out(found["build"], {"ONNX_RUNTIME": runtime})
    shutil.copy(DOCKER / "health.py", root / "opt/dimstream/health.py")
    return Installed(root, shed)


@pytest.fixture(scope="module")
def locked(installed: Installed) -> Installed:
    """With the settings, keys and bundle that compose mounts."""
    root = installed.root
    for folder in ("etc/dimstream/clients", "run/secrets", "state", "recordings", "keys"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    settings = (DOCKER / "server.toml").read_text(encoding="utf-8")
    (root / "etc/dimstream/server.toml").write_text(installed.shed.moved(settings), encoding="utf-8")
    make_pair(root / "keys", "server")[0].rename(root / "run/secrets/server.key")
    make_pair(root / "keys", "scope")[1].rename(root / "etc/dimstream/clients/scope.pub")
    make_token(root / "keys", "prometheus").rename(root / "run/secrets/http.tokens")
    return installed


LOOPBACK = ["--zmq", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--device", "cpu"]


@pytest.fixture
def running(locked: Installed, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The image's command line, as process 1 of a namespace where this machine allows it, on loopback."""
    command = [*locked.command("ENTRYPOINT"), *locked.command("CMD"), *LOOPBACK]
    ready = tmp_path / "ready.json"
    alone = ["unshare", "--pid", "--fork", "--kill-child"]
    allowed = shutil.which("unshare") and subprocess.run([*alone, "true"], check=False).returncode == 0
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen(
        [*(alone if allowed else []), *command, "--ready-file", str(ready), "--log-level", "debug"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        cwd=locked.root,
    )
    try:
        deadline = time.monotonic() + START_S
        while not ready.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process, {**json.loads(ready.read_text()), "alone": bool(allowed)}
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def probe(installed: Installed, url: str) -> subprocess.CompletedProcess[str]:
    *words, asked = installed.command("HEALTHCHECK")
    command = [*words, asked.replace("http://127.0.0.1:8570", url)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_holds_no_torch_and_nothing_to_install_with(installed: Installed) -> None:
    (packages,) = installed.root.glob("opt/dimstream/lib/python3.*/site-packages")
    names = {path.name.partition("-")[0].lower() for path in packages.glob("*.dist-info")}
    assert {"dimstream_server", "dimstream_client", "dimstream_models", "onnxruntime"} <= names
    assert not names & {"torch", "pip", "optuna", "pytest", "matplotlib"}
    assert not (packages / "torch").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_serves_is_probed_and_stops_at_sigterm(
    locked: Installed, running: tuple[subprocess.Popen[str], dict[str, Any]]
) -> None:
    process, said = running
    assert said["alone"] == (said["pid"] == 1)
    healthy = probe(locked, said["http"])
    assert healthy.returncode == 0, healthy.stderr
    assert json.loads(healthy.stdout)["checks"]["device"] == "ok"
    assert list(locked.root.glob("state/*")), "the journal is in the state folder"

    token = read_only_entry(locked.root / "run/secrets/http.tokens", TOKEN).value
    connection = http.client.HTTPConnection(said["http"].removeprefix("http://"), timeout=20)
    host = {"Host": f"127.0.0.1:{connection.port}", "Authorization": f"Bearer {token}"}
    connection.request("GET", "/metrics", headers=host)
    assert b"dimstream_ready 1.0" in connection.getresponse().read()
    connection.close()

    inner = process.pid
    if said["alone"]:
        inner = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    os.kill(inner, signal.SIGTERM)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events[-1] == "stopped"
    assert {"ready", "shipped_bundle"} <= set(events)
    secret = read_secret(locked.root / "run/secrets/server.key")[1].decode()
    assert token not in log
    assert secret not in log

    sick = probe(locked, said["http"])
    assert sick.returncode == 1
    assert "Connection refused" in sick.stdout


def test_the_example_settings_are_taken(tmp_path: Path) -> None:
    settings = load_settings(DOCKER / "server.toml", {})
    assert settings.server.log_format == "json"
    assert settings.server.bundles is None
    example = re.search(
        r"^# (bundles = .*)$", (DOCKER / "server.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert example is not None
    named = tmp_path / "named.toml"
    named.write_text(f"[server]\n{example[1]}\n", encoding="utf-8")
    (bundle,) = load_settings(named, {}).server.bundles or ()
    assert str(bundle.parent) == MOUNTED_BUNDLES


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_health_check_prints_why_a_server_is_not_ready(installed: Installed, sick_server: str) -> None:
    done = probe(installed, sick_server)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"ready": False, "checks": {"journal": "the disk is full"}}


@pytest.fixture
def sick_server() -> Iterator[str]:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b'{"ready": false, "checks": {"journal": "the disk is full"}}')

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
