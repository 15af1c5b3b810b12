"""Ten minutes of a series as Imspector saves it, by its makers' own library, through a real server."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from faults.bundles import write_tiny_bundle
from faults.processes import Server
from scripted_clock import ScriptedClock

from dimstream_client import Client
from dimstream_client.cli import main
from dimstream_client.files import open_images
from dimstream_client.watching import clock as clocks

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
