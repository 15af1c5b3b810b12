"""The event loop asks nothing of a disk while streams are opened, fed, recorded, resumed and closed."""

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import disk_watch
import numpy as np
import pytest
from faults.bundles import write_tiny_bundle
from faults.processes import Server
from live_viewers import viewing

from dimstream_client import Client

pytestmark = pytest.mark.slow

SHAPE = (32, 40)
FRAMES = 40
PATIENCE_S = 60.0


def use_everything(server: Server, folder: Path) -> None:
    """A stream that is recorded, with holes, an update and a lost connection; requests that look at it."""
    rng = np.random.default_rng(1)
    with Client(server.endpoint, timeout_s=PATIENCE_S) as client:
        stream = client.open(SHAPE, "uint16", window=4, save=True, spool=folder)
        for number in range(FRAMES):
            stream.send(rng.poisson(5.0, SHAPE).astype(np.uint16))
            stream.take(timeout_s=PATIENCE_S)
            if number == 10:
                stream.skip(3, reason="a test left them out")
                stream.update(thresholds={"ssim": 0.5})
        for path in ("/readyz", "/metrics", "/v1/streams", "/live", "/live/assets/app.js"):
            with urllib.request.urlopen(server.http + path, timeout=PATIENCE_S) as answer:
                answer.read()
        watch(server.http, stream.opened.stream)
    with Client(server.endpoint, timeout_s=PATIENCE_S) as client:
        stream = client.resume(folder)
        for _ in range(FRAMES):
            stream.send(rng.poisson(5.0, SHAPE).astype(np.uint16))
            while stream.take(timeout_s=PATIENCE_S).seq < stream.next_seq - 1:
                pass
        assert stream.close(timeout_s=PATIENCE_S).files


def watch(http: str, stream: str) -> None:
    """The newest frame, and one that only the recording has."""
    with viewing(http) as viewer:
        for seq in (None, 0):
            viewer.watch(stream=stream, seq=seq, parts=["raw"], rows=True)
            assert viewer.of_kind("frame")[0]["stream"] == stream
        viewer.of_kind("status")


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there are no such signals here")
def test_the_loop_does_no_work_on_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    report = tmp_path / "report.json"
    monkeypatch.setenv("DISK_WATCH", str(report))
    bundle = write_tiny_bundle(tmp_path / "bundle")
    server = Server(
        *(bundle, tmp_path / "server"),
        record=tmp_path / "recordings",
        program=[disk_watch.__file__],
        settings={"live": {"memory_bytes": 20_000}},  # four frames
    )
    with server:
        use_everything(server, tmp_path / "first")  # what is loaded when it is first wanted is loaded then
        os.kill(server.pid, signal.SIGUSR1)
        use_everything(server, tmp_path / "second")
        os.kill(server.pid, signal.SIGUSR1)
        eventually(report.exists, PATIENCE_S)
        found = json.loads(report.read_text())
        assert found["elsewhere"] > FRAMES, "the watch saw nothing"
        assert found["loop"] == []
        assert server.terminate() == 0
