"""A figure and a threshold that are declared in one place are on every surface.

The packages are copied, two fields are added to `dimstream_client/quality.py`, and the copies are used in
processes of their own: a server, and a program that asks it in every way that there is.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FIGURE = (
    "    sharpness: float | None = field(default=0.625, metadata=figure("
    '"number", "how sharp it is", buckets=(0.5, 1.0)))\n'
)
THRESHOLD = '    sharpness: float = field(default=0.5, metadata=figure("number", "least sharpness"))\n'
BEFORE = {  # line before which each is declared
    "@dataclass(frozen=True)\nclass FrameResult:": FIGURE,
    "SHIPPED: Final = Thresholds(": THRESHOLD,
}
PROGRAM = """
import csv, json, shutil, sqlite3, sys, urllib.request
from pathlib import Path

import numpy as np
import tifffile

from dimstream_client import Client
from dimstream_client.cli import main
from dimstream_client.volumes.judging import judge_volumes
from dimstream_models.shipped import shipped_bundle
from dimstream_server.server_process import running_server

here = Path(sys.argv[1])
frames = np.random.default_rng(1).poisson(3, (2, 64, 64)).astype(np.uint16)
found = {}


def http(path, data=None):
    request = urllib.request.Request(server.http + path, data)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.headers, answer.read().decode("utf-8", "replace")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


more = ["--state", str(here / "state"), "--record", str(here / "recordings")]
with running_server(shipped_bundle(), more=more) as server:
    model = json.loads(http("/v1/models")[1])["models"][0]
    found["models"] = model["thresholds"]["sharpness"]
    with Client(server.zmq, timeout_s=60) as client:
        stream = client.open(shape=(64, 64), dtype="uint16", save=True)
        stream.send(frames[0])
        found["wire"] = stream.take().quality.sharpness
        found["opened"] = stream.opened.thresholds.sharpness
        found["updated"] = stream.update(thresholds={"sharpness": 0.25}).thresholds.sharpness
        found["streams"] = json.loads(http("/v1/streams")[1])["streams"][0]["thresholds"]["sharpness"]
        shutil.copytree(here / "state", here / "copy")  # the server has locked its own
        with sqlite3.connect(here / "copy" / "journal.sqlite") as journal:
            (in_force,) = journal.execute("SELECT in_force FROM updates").fetchone()
        found["journal"] = json.loads(in_force)["thresholds"]["sharpness"]
        stream.close()
    recording = next((here / "recordings").iterdir())
    first, update = lines(recording / "frames.jsonl")
    found["recorded"] = first["quality"]["sharpness"]
    found["recorded update"] = update["thresholds"]["sharpness"]
    found["recording"] = json.loads((recording / "recording.json").read_text())["thresholds"]["sharpness"]

    movie, out = here / "movies" / "a.tif", here / "out"
    movie.parent.mkdir()
    tifffile.imwrite(movie, frames, metadata={"axes": "TYX"})
    assert main(["stream", str(movie), str(here / "a.ome.tif"), "--server", server.zmq, "--quiet"]) == 0
    found["flags"] = lines(here / "a.flags.jsonl")[0]["quality"]["sharpness"]
    assert main(["denoise", str(movie.parent), str(out), "--server", server.zmq, "--quiet"]) == 0
    with (out / "flags.csv").open() as table:
        found["table"] = float(next(csv.DictReader(table))["sharpness"])

    path = f"/v1/models/{model['id']}/denoise"
    report = json.loads(http(path + "?report=json", movie.read_bytes())[1])
    found["report"] = report["frames"][0]["quality"]["sharpness"]
    single = here / "single.tif"
    tifffile.imwrite(single, frames[0])
    found["header"] = float(http(path, single.read_bytes())[0]["Dimstream-Sharpness"])
    found["metrics"] = "dimstream_sharpness_bucket" in http("/metrics")[1]
    found["described"] = http("/openapi.json")[1].count("how sharp it is")
print(json.dumps(found))
"""


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """Folder of the packages with one more figure and one more threshold."""
    for package in ("client", "models", "server"):
        shutil.copytree(
            ROOT / package / "src", tmp_path / "packages", dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
    declared = tmp_path / "packages" / "dimstream_client" / "quality.py"
    text = declared.read_text()
    for line, added in BEFORE.items():
        before, after = text.split(line)
        text = f"{before.rstrip()}\n{added}\n\n{line}{after}"
    declared.write_text(text)
    return tmp_path


def test_what_is_declared_in_one_place_is_on_every_surface(copies: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(copies / "packages")}
    asked = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(copies)],
        env=environment, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr[-3000:]
    found: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    figures = ("wire", "recorded", "flags", "table", "report", "header")
    assert {name: found.pop(name) for name in figures} == dict.fromkeys(figures, 0.625)
    assert (found.pop("metrics"), found.pop("described") >= 2) == (True, True)  # report and header
    changed = ("updated", "streams", "journal", "recorded update")
    assert {name: found.pop(name) for name in changed} == dict.fromkeys(changed, 0.25)
    assert found == dict.fromkeys(("models", "opened", "recording"), 0.5)
