"""Nothing is sent to anybody: runtimes keep no usage data when dimstream has loaded them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What makes ONNX Runtime think that nobody uses it in earnest.
AUTOMATIC = {"CI", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "TF_BUILD", "JENKINS_URL"}


def left_behind(statement: str, home: Path) -> list[str]:
    """Files in the home folder of a process that has run this statement."""
    home.mkdir()
    dropped = {*AUTOMATIC, "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    subprocess.run(
        [sys.executable, "-c", statement], env={**environment, "HOME": str(home)}, check=True, timeout=120
    )
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("modules", ["dimstream_server.pipeline.runtime", "dimstream_models, onnxruntime"])
def test_onnx_runtime_keeps_no_usage_data(tmp_path: Path, modules: str) -> None:
    assert left_behind(f"import {modules}", tmp_path / "home") == []


@pytest.mark.slow
def test_openvino_keeps_no_usage_data(tmp_path: Path) -> None:
    run = (
        "from dimstream_server.pipeline import device_name, device_probe; "
        "device_probe.probe(device_name.Device(runtime='openvino'))"
    )
    assert left_behind(run, tmp_path / "home") == []
