"""The commands of the tutorial of the analysis, run as they stand there, on a smaller movie."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tifffile
from ports import free_port
from shipped import BUNDLE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TUTORIAL = Path(__file__).parents[2] / "docs" / "analysis-tutorial.md"
FRAMES = slice(23, 33)  # from frame 30 on the stage has left the cell


def script() -> str:
    """Every command of the tutorial, with free ports, and one frame shown instead of four."""
    text = "\n".join(re.findall(r"```sh\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL))
    endpoint, http = free_port(), free_port()
    ports = f"--zmq tcp://127.0.0.1:{endpoint} --http 127.0.0.1:{http} --ready-file"
    assert text.count("--ready-file") == text.count("127.0.0.1:5570") == 1
    assert text.count("report cell-1") == 1
    text = text.replace("report cell-1", "report cell-1 --frames 2")
    return text.replace("--ready-file", ports).replace("127.0.0.1:5570", f"127.0.0.1:{endpoint}")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of someone who has followed the tutorial."""
    folder = tmp_path_factory.mktemp("analysis-tutorial")
    (folder / "demo").mkdir()
    movie = tifffile.imread(BUNDLE / "sample" / "movie.ome.tif")[FRAMES, :128, :128]
    metadata = {"axes": "TYX", "PhysicalSizeX": 0.02, "PhysicalSizeY": 0.02}
    metadata |= {"TimeIncrement": 4.6, "TimeIncrementUnit": "s"}
    tifffile.imwrite(folder / "demo" / "movie.ome.tif", movie, ome=True, metadata=metadata)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script()],
        cwd=folder,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder


def test_the_tutorial_leads_to_figure_three(followed: Path) -> None:
    summary = json.loads((followed / "cell-1" / "summary.json").read_text())
    flags = [
        json.loads(line)["flag"]
        for path in followed.glob("recordings/*/frames.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert len(flags) == 10
    assert summary["analysed"] == flags.count("ok") > 4
    assert sum(summary["left_out"].values()) == 10 - summary["analysed"]
    page = (followed / "report" / "report.html").read_text(encoding="utf-8")
    assert "were left out of all figures" in page
    assert "error not known" not in page


@pytest.mark.parametrize(
    "name", ["cell-1/frames.csv", "report/cell-1-figure.pdf", "report/cell-1-figure.png", "cell-1.mp4"]
)
def test_it_leaves_what_it_promises(followed: Path, name: str) -> None:
    assert (followed / name).stat().st_size > 0
