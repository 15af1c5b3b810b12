"""Frames of a camera, opened with its offset and gain, give what their photons give, by every endpoint."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dimstream_client.messages import Close, Frame, Open
from dimstream_models.bundle import Bundle
from dimstream_models.quality.detector import Detector
from dimstream_server.engine.protocol import StreamSpec

SHAPE = (40, 48)
PATH = "/v1/models/blur/denoise"
CAMERA = Detector(offset=100, gain=4)


def _photons(frames: int = 4) -> Any:
    """(T, H, W) uint16: a bright bar."""
    light = np.full(SHAPE, 0.2)
    light[12:18] = 40
    return np.random.default_rng(3).poisson(light, (frames, *SHAPE)).astype(np.uint16)


def _values(photons: Any) -> Any:
    return (CAMERA.offset + CAMERA.gain * photons).astype(np.uint16)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _said(result: Any) -> tuple[Any, ...]:
    return result.flag, result.reason, result.ssim_prev, result.fractions, result.quality


def test_a_camera_gives_the_results_of_its_photons(start_server: Any, connect: Any) -> None:
    peer, photons = connect(start_server()), _photons()
    counting = peer.open(SHAPE, "float32", maps=True)
    camera = peer.open(SHAPE, offset=CAMERA.offset, gain=CAMERA.gain, maps=True)
    assert (counting.offset, counting.gain) == (None, None)
    assert (camera.offset, camera.gain) == (CAMERA.offset, CAMERA.gain)
    for seq, frame in enumerate(photons):
        expected = peer.denoise(counting.stream, seq, frame.astype(np.float32))
        found = peer.denoise(camera.stream, seq, _values(frame))
        assert _said(found) == _said(expected)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        np.testing.assert_array_equal(found.support, expected.support)


def test_http_takes_both_from_the_query_and_says_so(start_server: Any, request_of: Any) -> None:
    server, photons = start_server(), _photons()
    query = f"?offset={CAMERA.offset}&gain={CAMERA.gain}"
    plain = {"Accept": "application/x-npy"}
    expected = request_of("POST", PATH, _npy(photons.astype(np.float32)), plain, server=server)
    found = request_of("POST", PATH + query, _npy(_values(photons)), plain, server=server)
    np.testing.assert_array_equal(found.array(), expected.array())
    assert found.headers["Dimstream-Detector"] == "offset=100, gain=4"
    assert expected.headers["Dimstream-Detector"] is None
    report = request_of("POST", f"{PATH}{query}&report=json", _npy(_values(photons)), server=server)
    assert json.loads(report.body)["detector"] == {"offset": 100.0, "gain": 4.0}


def test_a_recording_keeps_what_came_and_says_what_it_means(
    start_server: Any, connect: Any, tmp_path: Path
) -> None:
    peer = connect(start_server(server={"state": tmp_path / "state"}, recording={"folder": tmp_path / "r"}))
    opened = peer.ask(
        Open(client="camera", model="blur", shape=SHAPE, dtype="uint16", save=True, offset=100.0, gain=4.0)
    )
    values = _values(_photons(2))
    for seq, frame in enumerate(values):
        peer.ask(Frame(opened.stream, seq, frame))
    peer.ask(Close(opened.stream, 1))
    (folder,) = (tmp_path / "r").iterdir()
    np.testing.assert_array_equal(tifffile.imread(folder / "raw.ome.tif"), values)
    description = json.loads((folder / "recording.json").read_text())
    assert description["detector"] == {"offset": 100.0, "gain": 4.0}
    with tifffile.TiffFile(folder / "raw.ome.tif") as file:
        metadata = file.ome_metadata or ""
    assert 'K="detector_offset">100.0<' in metadata
    assert 'K="detector_gain">4.0<' in metadata


@pytest.mark.parametrize(("dtype", "ceiling"), [("uint8", 77.5), ("uint16", 32717.5), ("float32", None)])
def test_the_ceiling_is_that_of_the_detector(dtype: Any, ceiling: float | None) -> None:
    assert StreamSpec("blur", SHAPE, dtype, detector=Detector(100, 2)).ceiling == ceiling


def test_saturated_pixels_are_seen_through_the_offset(start_server: Any, connect: Any) -> None:
    peer, values = connect(start_server()), _values(_photons(1))[0]
    values[14:16, 5:40] = 65535
    opened = peer.open(SHAPE, offset=100.0, gain=4.0)
    result = peer.denoise(opened.stream, 0, values)
    assert result.flag == "suspect"
    assert "saturated" in result.reason


def test_light_all_below_zero_is_judged_and_breaks_nothing(
    start_server: Any, connect: Any, tiny_bundle: Any
) -> None:
    bundle: Bundle = tiny_bundle("blur")
    peer = connect(start_server(bundle))
    opened = peer.open(SHAPE, offset=60000.0, gain=0.5, maps=True)
    for seq, frame in enumerate(_values(_photons())):
        result = peer.denoise(opened.stream, seq, frame)
        assert (result.status, result.flag) == ("done", "suspect")
        assert result.fractions.background == 1
