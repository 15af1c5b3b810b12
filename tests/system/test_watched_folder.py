"""Ten minutes of a series as Imspector saves it, by its makers' own library, through a real server."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from faults.bundles import write_tiny_bundle
from faults.disks import NoDisk, small_disk
from faults.processes import Server
from scripted_clock import ScriptedClock

from dimstream_client import Client
from dimstream_client.cli import main
from dimstream_client.files import open_images
from dimstream_client.watching import clock as clocks

ROOT = os.geteuid() == 0
specpy = pytest.importorskip("specpy", reason="specpy has no wheel for this machine")
pytestmark = pytest.mark.slow
INTERVAL_S = 4.6
FRAMES = round(600 / INTERVAL_S)
SIDE, PIXEL_M = 48, 2e-8
KILLED_AT_S = 200.0


def write_msr(path: Path, detectors: dict[str, np.ndarray]) -> None:
    """Save a measurement with a stack for each detector, (H, W)."""
    file = specpy.File(str(path), specpy.File.Write)
    for name, pixels in detectors.items():
        stack = specpy.Stack(np.ascontiguousarray(pixels[None, None]))
        stack.set_name(name)
        stack.set_labels(["ExpControl X", "ExpControl Y", "ExpControl Z", "ExpControl T"])
        height, width = pixels.shape
        stack.set_lengths([width * PIXEL_M, height * PIXEL_M, 0.0, 0.0])
        file.write(stack)
    del file


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ScriptedClock:
    clock = ScriptedClock()
    monkeypatch.setattr(clocks, "SystemClock", lambda: clock)
    return clock


def test_ten_minutes_of_a_series_are_one_stream(tmp_path: Path, clock: ScriptedClock) -> None:
    """The server is killed in between, and every flag and pixel is that of the same movie as one stream."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    rng = np.random.default_rng(3)
    sample = rng.gamma(0.5, 6.0, (SIDE, SIDE))
    movie = rng.poisson(np.stack([sample * 0.995**n for n in range(FRAMES)])).astype(np.uint16)
    for n in range(FRAMES):
        detectors = {"STED": movie[n], "Conf": movie[n] * 2}
        clock.at(n * INTERVAL_S, lambda n=n, d=detectors: write_msr(folder / f"cell 1 {n}.msr", d))
    with Server(write_tiny_bundle(tmp_path / "tiny"), tmp_path / "server") as server:
        clock.at(KILLED_AT_S, lambda: (server.kill(), server.start()))
        command = ["watch", str(folder), str(out), "--server", server.endpoint, "--series", "0"]
        assert main([*command, "--poll-s", "2", "--until-quiet-s", "60", "--quiet"]) == 0
        with Client(server.endpoint) as client:
            expected = list(client.stream(movie))
    flags = [json.loads((out / f"cell 1 {n}.flags.jsonl").read_text()) for n in range(FRAMES)]
    for n, (result, line) in enumerate(zip(expected, flags, strict=True)):
        path = out / f"cell 1 {n}.ome.tif"
        np.testing.assert_array_equal(tifffile.imread(path), result.pixels)
        assert (line["flag"], line["ssim_prev"]) == (result.flag, result.ssim_prev)
        assert line["index"]["t"] == n
        assert line["compared_seq"] == (None if n == 0 else -1)
    with open_images(out / "cell 1 0.ome.tif") as stack:
        assert stack.square_pixel_um == PIXEL_M * 1e6
    with (out / "flags.csv").open(newline="", encoding="utf-8") as table:
        assert [row["file"] for row in csv.DictReader(table)] == [f"cell 1 {n}.msr" for n in range(FRAMES)]


DIMSTREAM = Path(sys.executable).with_name("dimstream")


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_watch_that_is_killed_continues(tmp_path: Path) -> None:
    """In the middle of a movie, and between files; no file is done twice, and none is left out."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    movie = np.random.default_rng(6).poisson(3, (60, SIDE, SIDE)).astype(np.uint16)
    options = ["--poll-s", "0.05", "--settle-s", "0.2"]
    with Server(write_tiny_bundle(tmp_path / "tiny"), tmp_path / "server") as server:
        command = [DIMSTREAM, "watch", folder, out, "--server", server.endpoint, "--quiet", *options]
        for n in range(3):
            tifffile.imwrite(folder / f"img{n}.tif", movie[n])
        with subprocess.Popen(command) as program:
            until(lambda: (out / "img2.ome.tif").exists())
            tifffile.imwrite(folder / "movie.tif", movie, photometric="minisblack", metadata={"axes": "TYX"})
            part = out / ".movie.part.flags.jsonl"
            until(lambda: (part.exists() and part.stat().st_size > 0) or (out / "movie.ome.tif").exists())
            program.kill()
        made = {path: path.stat().st_mtime_ns for path in out.glob("img*.ome.tif")}
        tifffile.imwrite(folder / "img3.tif", movie[3])
        ended = subprocess.run([*command, "--until-quiet-s", "1"], timeout=120, check=False)
        assert ended.returncode == 0
        assert {path: path.stat().st_mtime_ns for path in made} == made
        with Client(server.endpoint) as client:
            expected = list(client.stream(movie))
    np.testing.assert_array_equal(tifffile.imread(out / "movie.ome.tif"), [r.pixels for r in expected])
    lines = [json.loads(line) for line in (out / "movie.flags.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(60))
    assert [line["ssim_prev"] for line in lines] == [result.ssim_prev for result in expected]
    for n in range(4):
        np.testing.assert_array_equal(tifffile.imread(out / f"img{n}.ome.tif"), expected[n].pixels)
        line = json.loads((out / f"img{n}.flags.jsonl").read_text())
        assert line["ssim_prev"] == expected[n].ssim_prev
    assert not list(out.glob(".*part*"))


@pytest.mark.skipif(not ROOT, reason="only root can mount disks")
def test_a_full_disk_and_a_share_that_is_unmounted_are_waited_for(
    tmp_path: Path, clock: ScriptedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    share, behind, out = tmp_path / "share", tmp_path / "behind", tmp_path / "out"
    for path in (share, behind):
        path.mkdir()
    movie = np.random.default_rng(6).poisson(3, (4, SIDE, SIDE)).astype(np.uint16)

    def mount() -> None:
        subprocess.run(["mount", "--bind", str(behind), str(share)], check=True)

    def unmount() -> None:
        subprocess.run(["umount", "-l", str(share)], check=False)

    try:
        mount()
        with (
            small_disk(out, 2**20) as disk,
            Server(write_tiny_bundle(tmp_path / "tiny"), tmp_path / "server") as server,
        ):
            for n, second in enumerate((0, 20, 220, 420)):
                clock.at(second, lambda n=n: tifffile.imwrite(behind / f"img{n}.tif", movie[n]))
            clock.at(10, disk.fill)
            clock.at(200, disk.free)
            clock.at(230, unmount)
            clock.at(410, mount)
            command = ["watch", str(share), str(out), "--server", server.endpoint, "--quiet"]
            assert main([*command, "--poll-s", "2", "--until-quiet-s", "300"]) == 0
            for n in range(4):
                assert tifffile.imread(out / f"img{n}.ome.tif").shape == (SIDE, SIDE)
            told = capsys.readouterr().err
            assert told.count("its output cannot be written: No space left") == 1
            assert "outputs can be written again" in told
            assert list(share.iterdir()) != []
    except NoDisk as error:
        pytest.skip(str(error))
    finally:
        unmount()
        shutil.rmtree(behind)
