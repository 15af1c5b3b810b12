"""The tutorial's own commands, run as they stand there, only smaller."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ports import free_port

pytestmark = pytest.mark.slow

TUTORIAL = Path(__file__).parents[2] / "docs" / "train-a-model.md"
SMALLER = {
    "--fields 12": "--fields 3",
    "--side 304": "--side 128",
    "--set pairs.stride_px=64 --set fit.batch=8 --set fit.epochs=40": (
        "--set pairs.stride_px=32 --set fit.batch=2 --set fit.epochs=2 --set fit.patch_px=64"
        " --set network.filters='[4, 8]' --set network.num_cab=1"
    ),
    "--set fit.batch=8 --set fit.epochs=10 \\\n": (
        "--set fit.batch=2 --set fit.epochs=2 --set network.filters='[2, 4]' --set network.num_cab=1 \\\n"
    ),
    "--set search.epochs=2 --set search.instances=64": "--set search.epochs=1 --set search.instances=4",
    "search.space.patch_px='[64, 128]'": "search.space.patch_px='[32, 64]'",
    "--set fit.batch=8 --set fit.epochs=10\n": (
        "--set fit.batch=2 --set fit.epochs=1 --set fit.patch_px=64 --set network.filters='[2, 4]'\n"
    ),
}


def script() -> str:
    """Every command of the tutorial, made smaller; a text that is no longer there is an error."""
    text = "\n".join(re.findall(r"```sh\n(.*?)```", TUTORIAL.read_text(), re.DOTALL))
    for said, smaller in SMALLER.items():
        assert text.count(said) == 1, said
        text = text.replace(said, smaller)
    endpoint, http = free_port(), free_port()
    text = text.replace(
        "--ready-file", f"--zmq tcp://127.0.0.1:{endpoint} --http 127.0.0.1:{http} --ready-file"
    )
    return text.replace("127.0.0.1:5570", f"127.0.0.1:{endpoint}")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of someone who has followed the tutorial."""
    folder = tmp_path_factory.mktemp("tutorial")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script()],
        cwd=folder,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder


@pytest.mark.slow
def test_the_tutorial_leads_to_a_model_that_serves(followed: Path) -> None:
    flags = [json.loads(line) for line in (followed / "denoised.flags.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in flags] == list(range(24))
    assert {line["flag"] for line in flags[1:]} <= {"ok", "suspect"}
    assert flags[0]["flag"] == "unjudged"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "prepared/report.html",
        "run/loss.png",
        "er-tutorial/README.md",
        "report/report.html",
        "signal.json",
        "study/trials.csv",
        "run-low/best.pt",
    ],
)
def test_the_tutorial_leaves_what_it_promises(followed: Path, name: str) -> None:
    assert (followed / name).stat().st_size > 0
