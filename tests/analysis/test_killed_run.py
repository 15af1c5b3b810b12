"""An analysis whose processes are killed goes on, and its tables are those of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from dimstream_models.analysis.cli import main

FRAMES, SIDE = 64, 48  # four chunks
LIMIT_S = 240  # three processes import scipy and matplotlib first


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    """Tubules that drift over noise."""
    rng = np.random.default_rng(4)
    light = np.full((FRAMES, SIDE, SIDE), 2.0)
    for t in range(FRAMES):
        for at in (8, 22, 38):
            light[t, (at + t // 8) % SIDE] = light[t, :, (at + t // 5) % SIDE] = 40
    metadata = {"axes": "TYX", "PhysicalSizeX": 0.02, "PhysicalSizeY": 0.02}
    path = tmp_path / "movie.ome.tif"
    tifffile.imwrite(path, rng.poisson(light).astype(np.uint16), ome=True, metadata=metadata)
    return path


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc to find worker processes in")
def test_after_a_kill_the_tables_are_the_same(movie: Path, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    words = ["run", str(movie), "--classical", "--workers", "2", "--out"]
    command = [str(Path(sys.executable).with_name("dimstream-analyse"))]
    process = subprocess.Popen([*command, *words, str(killed)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: list(killed.glob("chunks/*.json")) or process.poll() is not None)
        assert process.poll() is None, "it ended by itself"
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(LIMIT_S)
    done = list(killed.glob("chunks/*.json"))
    assert 1 <= len(done) < 4
    assert not (killed / "summary.json").exists()
    assert len(workers) >= 2
    wait_until(lambda: not any(is_running(int(pid)) for pid in workers))
    words[words.index("2")] = "1"
    assert main([*words, str(killed)]) == main([*words, str(whole)]) == 0
    for name in ("frames.csv", "junctions.csv", "gaps.csv", "summary.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("labels.tif", "persistence.tif"):
        assert np.array_equal(tifffile.imread(killed / name), tifffile.imread(whole / name)), name
