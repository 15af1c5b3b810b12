"""The plugin in a real napari, with a real server: `make napari` runs this under a virtual display."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from napari.viewer import Viewer
from qtpy.QtWidgets import QApplication

from dimstream_client import Client
from dimstream_client.live import FLAGS
from dimstream_client.napari_plugin.denoise_widget import DenoiseWidget
from dimstream_client.napari_plugin.follow_widget import FollowWidget
from dimstream_client.napari_plugin.support_labels import labels

PATIENCE_S = 120
SIDE = 96


class Server(NamedTuple):
    zmq: str
    http: str
    process: "subprocess.Popen[bytes]"


def start_server(folder: Path, *, zmq: str = "tcp://127.0.0.1:0", http: str = "127.0.0.1:0") -> Server:
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [
        str(Path(sys.executable).with_name("dimstream-server")),
        "serve",
        "--state",
        str(folder / "state"),
    ]
    process = subprocess.Popen([*command, "--zmq", zmq, "--http", http, "--ready-file", str(ready)])
    wait_for(ready.exists)
    told = json.loads(ready.read_text())
    return Server(told["zmq"], told["http"], process)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server(tmp_path_factory.mktemp("server"))
    yield running
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(PATIENCE_S) == 0


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    opened = Viewer(show=os.environ.get("DIMSTREAM_SHOW") == "1")
    yield opened
    opened.close()
    QApplication.processEvents()


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        QApplication.processEvents() if QApplication.instance() else None
        time.sleep(0.01)
    return found


def movie(frames: int, *, seed: int = 0) -> Any:
    y, x = np.mgrid[:SIDE, :SIDE]
    light = 0.3 + 6 * np.exp(-(((y - x + 12 * np.sin(x / 11)) / 4.0) ** 2))
    return np.random.default_rng(seed).poisson(light, (frames, SIDE, SIDE)).astype(np.uint16)


def followed(viewer: Viewer, server: Server) -> FollowWidget:
    widget = FollowWidget(viewer)
    widget.server.setText(server.http)
    widget.connect_to_server()
    return widget


def choose(widget: FollowWidget, stream: str) -> None:
    """As somebody who picks the stream from the list."""
    at = wait_for(lambda: 1 + widget.streams.findData(stream)) - 1
    widget.streams.setCurrentIndex(at)
    widget.streams.activated.emit(at)


def test_a_stream_is_followed_scrubbed_and_left(viewer: Viewer, server: Server) -> None:
    frames, results = movie(6), {}
    with (
        Client(server.zmq) as client,
        client.open(frames[0].shape, "uint16", maps=True, pixel_size_um=0.02) as stream,
    ):
        for frame in frames[:4]:
            stream.send(frame)
        for _ in range(4):
            result = stream.take()
            results[result.seq] = result
        widget = followed(viewer, server)
        choose(widget, stream.id)
        wait_for(lambda: len(viewer.layers) == 3 and len(viewer.layers[0].data) == 4)
        raw, denoised, support = viewer.layers
        wait_for(lambda: viewer.dims.current_step[0] == 3)
        assert tuple(raw.scale) == tuple(denoised.scale) == (1.0, 0.02, 0.02)
        assert [str(unit) for unit in raw.units] == ["pixel", "micrometer", "micrometer"]
        assert raw.axis_labels == ("frame", "y", "x")
        for frame in frames[4:]:
            stream.send(frame)
        for _ in range(2):
            result = stream.take()
            results[result.seq] = result
        wait_for(lambda: len(denoised.data) == 6 and viewer.dims.current_step[0] == 5)
        viewer.dims.set_current_step(0, 1)  # somebody moves the slider
        assert not widget.follow_newest.isChecked()
        for seq in (1, 5, 0):
            viewer.dims.set_current_step(0, seq)
            np.testing.assert_array_equal(np.asarray(raw.data[seq]), frames[seq])
            np.testing.assert_array_equal(np.asarray(denoised.data[seq]), results[seq].pixels)
            np.testing.assert_array_equal(np.asarray(support.data[seq]), labels(results[seq].support))
            assert viewer.canvas.overlays.text.text.startswith(f"frame {seq}: {results[seq].flag}")
        flags = [FLAGS[int(flag)] for flag in raw.metadata["dimstream"]["flag"]]
        assert flags == [results[seq].flag for seq in range(6)]
        assert list(raw.metadata["dimstream"]["seq"]) == list(range(6))
        widget.follow_newest.setChecked(True)
        wait_for(lambda: viewer.dims.current_step[0] == 5)
        widget.end()
        assert widget.status.text() == "Not connected."
        widget.close()


def test_a_server_that_is_lost_is_found_again(viewer: Viewer, tmp_path: Path) -> None:
    first = start_server(tmp_path)
    widget = followed(viewer, first)
    wait_for(lambda: widget.status.text().startswith("Connected"))
    first.process.kill()
    first.process.wait(PATIENCE_S)
    wait_for(lambda: "live view" in widget.status.text())
    second = start_server(tmp_path, zmq=first.zmq, http=first.http.removeprefix("http://"))
    try:
        wait_for(lambda: widget.status.text().startswith("Connected"))
    finally:
        widget.end()
        second.process.send_signal(signal.SIGTERM)
        second.process.wait(PATIENCE_S)


def test_a_layer_is_denoised_as_the_client_does(viewer: Viewer, server: Server) -> None:
    frames = movie(5, seed=1)
    with Client(server.zmq) as client:
        expected = list(client.stream(frames, out_dtype="float32", maps=True, pixel_size_um=0.02))
    viewer.add_image(
        frames, name="er", scale=(1, 20, 20), units=("pixel", "nm", "nm"), axis_labels=("t", "y", "x")
    )
    widget = DenoiseWidget(viewer)
    widget.server.setText(server.zmq)
    widget.maps.setChecked(True)
    widget.button.click()
    assert widget.button.text() == "Cancel"
    wait_for(lambda: widget.button.text() == "Denoise")
    denoised, support = viewer.layers["er denoised"], viewer.layers["er support"]
    for result in expected:
        np.testing.assert_array_equal(denoised.data[result.seq], result.pixels)
        np.testing.assert_array_equal(support.data[result.seq], labels(result.support))
    assert denoised.metadata["dimstream"]["flag"] == [result.flag for result in expected]
    assert tuple(denoised.scale) == (1, 20, 20)
    assert widget.status.text().startswith("5 of 5 frames")


def test_a_run_is_canceled_and_says_what_is_missing(viewer: Viewer, server: Server) -> None:
    viewer.add_image(movie(400), name="long")
    widget = DenoiseWidget(viewer)
    widget.server.setText(server.zmq)
    widget.button.click()
    wait_for(lambda: widget.progress.value() >= 2)
    widget.button.click()
    wait_for(lambda: widget.button.text() == "Denoise")
    assert widget.status.text().startswith("Canceled.")
    data = viewer.layers["long denoised"].data
    assert np.isfinite(data[0]).all()
    assert np.isnan(data[-1]).all()


def test_values_that_are_no_photons_are_named(viewer: Viewer, server: Server) -> None:
    viewer.add_image((100 + 7 * movie(4)).astype(np.float64), name="camera")
    widget = DenoiseWidget(viewer)
    widget.server.setText(server.zmq)
    widget.button.click()
    wait_for(lambda: widget.button.text() == "Denoise")
    assert "the values are no photon counts" in widget.status.text()


def test_what_cannot_be_sent_is_said(viewer: Viewer, server: Server) -> None:
    widget = DenoiseWidget(viewer)
    widget.button.click()
    assert widget.status.text() == "Choose a layer of grey images of 2 to 5 axes."
    viewer.add_image(np.zeros((8, 8, 3), np.uint8), name="colours", rgb=True)
    widget.button.click()
    assert widget.status.text() == "Choose a layer of grey images of 2 to 5 axes."
    viewer.add_image(np.full((2, 8, 8), -3, np.int16), name="negative")
    widget.layer.setCurrentText("negative")
    widget.server.setText(server.zmq)
    widget.button.click()
    wait_for(lambda: widget.button.text() == "Denoise")
    assert "frame 0 holds values below zero (-3)" in widget.status.text()


def test_napari_lists_both_widgets() -> None:
    import npe2

    manifest = npe2.PluginManager.instance().get_manifest("dimstream-client")
    assert [one.display_name for one in manifest.contributions.widgets] == [
        "Follow a stream",
        "Denoise a layer",
    ]
