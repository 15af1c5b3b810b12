"""A camera's movie through ZeroMQ, HTTP and both commands: never ok, until its offset and gain are given."""

import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from shipped import MODEL

from dimstream_client import Client
from dimstream_client.cli import main as dimstream
from dimstream_server.server_process import RunningServer

pytestmark = pytest.mark.slow

OFFSET, GAIN = 100.0, 7.3
PROPOSED = re.compile(r"offset (\d+\.?\d*),? (?:--)?gain (\d+\.?\d*)")


def _is_proposed(words: str | None) -> bool:
    """Whether offset and gain are named, to half a unit and to a tenth."""
    found = PROPOSED.search(words or "")
    assert found, words
    return abs(float(found[1]) - OFFSET) < 0.5 and abs(float(found[2]) / GAIN - 1) < 0.1


@pytest.fixture(scope="module")
def photons(sample: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Frames with signal of the sample movie, each count kept with chance 2 in 3, so that they are not the
    sample's."""
    return np.random.default_rng(2).binomial(sample[:6], 2 / 3).astype(np.uint16)


@pytest.fixture(scope="module")
def camera(photons: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """What a camera would have given."""
    return np.rint(OFFSET + GAIN * photons).astype(np.uint16)


def _post(server: RunningServer, movie: NDArray[Any], query: str = "") -> Any:
    body = io.BytesIO()
    np.save(body, movie)
    url = f"{server.http}/v1/models/{MODEL}/denoise?{query}"
    return urlopen(Request(url, body.getvalue(), {"Accept": "application/json"}), timeout=60)


def test_no_frame_of_a_camera_is_ok_by_zeromq_until_it_is_told(
    server: RunningServer, camera: NDArray[np.uint16], photons: NDArray[np.uint16]
) -> None:
    with Client(server.zmq) as client:
        plain = list(client.stream(camera))
        told = list(client.stream(camera, offset=OFFSET, gain=GAIN))
        counted = list(client.stream(photons))
    assert {result.flag for result in plain} == {"unjudged"}
    for result in plain:
        assert "no photon counts: " in (result.reason or "")
        assert _is_proposed(result.reason)
        assert result.quality is not None
        assert "not_photons" in result.quality.notes
    assert [result.flag for result in told] == [result.flag for result in counted]
    assert [result.flag for result in counted] == ["unjudged"] + ["ok"] * 5
    sums = [
        sum(float(one.pixels.sum()) for one in results if one.pixels is not None)
        for results in (told, counted)
    ]
    assert sums[0] == pytest.approx(sums[1], rel=0.05)


def test_http_says_the_same(server: RunningServer, camera: NDArray[np.uint16]) -> None:
    with _post(server, camera) as answer:
        assert _is_proposed(answer.headers["Dimstream-Not-Photons"])
        assert answer.headers["Dimstream-Flag"] == "unjudged"
        report = json.load(answer)
    assert report["counts"] == {"ok": 0, "unjudged": 6, "suspect": 0}
    assert all(_is_proposed(frame["reason"]) for frame in report["frames"])
    with _post(server, camera, f"offset={OFFSET}&gain={GAIN}") as answer:
        assert answer.headers["Dimstream-Not-Photons"] is None
        assert json.load(answer)["counts"]["ok"] == 5


@pytest.mark.parametrize("command", ["stream", "denoise"])
def test_the_commands_say_once_what_to_give_and_take_it(
    server: RunningServer,
    camera: NDArray[np.uint16],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    command: str,
) -> None:
    source, out = tmp_path / "camera.tif", tmp_path / "out.ome.tif"
    tifffile.imwrite(source, camera, imagej=True, metadata={"axes": "TYX"})
    where = ["--server", server.zmq if command == "stream" else server.http]
    quiet = ["--quiet"] if command == "stream" else []
    assert dimstream([command, str(source), str(out), *where, *quiet]) == 0
    said = capfd.readouterr().err
    assert said.count("no photon counts") == 1
    assert _is_proposed(said)
    if command == "stream":
        lines = [json.loads(line) for line in (tmp_path / "out.flags.jsonl").read_text().splitlines()]
        assert all("not_photons" in line["quality"]["notes"] for line in lines)
    out.unlink()
    told = ["--offset", "100", "--gain", "7.3"]
    assert dimstream([command, str(source), str(out), *where, *quiet, *told]) == 0
    assert "no photon counts" not in capfd.readouterr().err
