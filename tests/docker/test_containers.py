"""The files of the containers: linted, resolved, and in agreement with each other."""

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
from pathlib import Path
from typing import Any

import pytest
from dockerfiles import stages, steps

from dimstream_server.settings_file import load_settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
SERVER = DOCKER / "server.Dockerfile"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
START_S = 90
MOUNTED_BUNDLES = "/bundles"


def tool(name: str) -> str:
    """Path of a program next to this Python, or anywhere; the test is skipped where there is none."""
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
    assert settings["http"]["operator_tokens"] in mounted
    assert settings["server"]["bundle_folders"] == [MOUNTED_BUNDLES]
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


def requirements_of_our_own(folder: str) -> set[str]:
    """Folders of the distributions of this project that the one in `folder` needs, with any of its extras."""
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {}).values()
    words = [*project["dependencies"], *(word for extra in extras for word in extra)]
    return {found[1] for word in words if (found := re.match(r"dimstream-(\w+)", word))}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_our_own_distributions_need_of_each_other_is_copied_in(path: Path) -> None:
    copied = {step.text.split()[0] for step in stages(path)["build"] if step.name == "COPY"}
    ours = copied & {"client", "models", "server"}
    assert ours
    assert set().union(*map(requirements_of_our_own, ours)) <= ours
    let_in = path.with_name(f"{path.name}.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{name}" for name in ours} <= set(let_in)


def test_as_process_1_the_server_stops_at_sigterm(tmp_path: Path) -> None:
    alone = ["unshare", "--pid", "--fork", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("no namespace of processes can be made here")
    ready = tmp_path / "ready.json"
    free = ["--zmq", "tcp://127.0.0.1:0", "--http", "127.0.0.1:0", "--device", "cpu"]
    command = [*alone, tool("dimstream-server"), "serve", *free, "--ready-file", str(ready)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + START_S
            while not ready.exists():
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert json.loads(ready.read_text())["pid"] == 1
            (inner,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(inner), signal.SIGTERM)
            _, log = process.communicate(timeout=START_S)
        finally:
            process.kill()
    assert process.returncode == 0, log
    assert "event=stopped" in log


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


def test_a_health_check_prints_why_a_server_is_not_ready(sick_server: str) -> None:
    done = subprocess.run(
        [sys.executable, DOCKER / "health.py", sick_server],
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
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
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
