"""Micro-Manager's cameras and a real server that is killed: not one frame is lost, and no pixel differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.bundles import write_tiny_bundle
from faults.processes import Server
from numpy.typing import NDArray

from dimstream_client import Client, Result
from dimstream_client.micromanager import MdaStream, SentFrame, replay_core

pytest.importorskip("pymmcore_plus")
useq = pytest.importorskip("useq")
pytestmark = pytest.mark.slow

FRAMES = 200
SHAPE = (64, 64)
Answers = list[tuple[int, int, Any, Any, bytes]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    with Server(bundle, tmp_path_factory.mktemp("server"), settings={"zmq": {"silence_s": 2.0}}) as server:
        yield server


@pytest.fixture(scope="module")
def movie() -> NDArray[np.uint16]:
    """(200, H, W) photon counts of a grid that fades."""
    rows, columns = np.indices(SHAPE)
    light = 8.0 * ((rows // 8 + columns // 8) % 2)
    fading = np.exp(-np.arange(FRAMES) / 80)[:, None, None]
    return np.random.default_rng(3).poisson(light * fading + 0.3).astype(np.uint16)


def acquire(
    core: Any, endpoint: str, events: Any, spool: Path, faults: dict[int, Any] | None = None
) -> tuple[Answers, Any]:
    """Run it; do something at a frame. Return what came back, and the report."""
    answers: Answers = []

    def on_result(result: Result, sent: SentFrame) -> None:
        assert result.pixels is not None
        event = tuple(sorted(sent.event.items()))
        answers.append((result.seq, event, result.flag, result.reason, result.pixels.tobytes()))  # type: ignore

    def on_frame(image: Any, event: Any, meta: Any) -> None:
        if do := (faults or {}).get(event.index["t"]):
            do()

    with Client(endpoint, timeout_s=1.5) as client:
        stream = MdaStream(core, client, spool=spool, on_result=on_result)
        stream.connect()
        core.mda.events.frameReady.connect(on_frame)
        core.run_mda(events, block=True)
        core.mda.events.frameReady.disconnect(on_frame)
        (report,) = stream.close(timeout_s=120)
    return answers, report


def test_a_server_that_is_killed_and_comes_back_loses_no_frame_of_200(
    server: Server, movie: NDArray[np.uint16], tmp_path: Path
) -> None:
    plan = useq.MDASequence(time_plan={"interval": 0.01, "loops": FRAMES})

    def core() -> Any:
        core = replay_core(movie, exposure_ms=1.0)
        core.mda.engine.use_hardware_sequencing = False  # on a busy machine it loses frames itself
        return core

    undisturbed, _ = acquire(core(), server.endpoint, plan, tmp_path / "a")
    faults = {40: server.kill, 80: server.start, 120: server.kill, 121: server.begin, 160: server.kill}
    faults[199] = server.begin
    answers, report = acquire(core(), server.endpoint, plan, tmp_path / "b", faults)
    assert report.is_complete
    assert (report.seen, report.answered, report.end) == (FRAMES, FRAMES, "finished")
    assert answers == undisturbed
    assert len({flag for _, _, flag, _, _ in undisturbed}) > 1, "such a movie proves nothing"
    assert not list((tmp_path / "b").iterdir())


def test_every_plane_of_the_demo_camera_is_answered_while_the_server_is_killed(
    server: Server, tmp_path: Path
) -> None:
    from mm_test_adapters import device_adapter_path
    from pymmcore_plus import CMMCorePlus

    core = CMMCorePlus()
    core.setDeviceAdapterSearchPaths([device_adapter_path()])
    core.loadSystemConfiguration(Path(device_adapter_path()) / "MMConfig_demo.cfg")
    core.setProperty("Camera", "OnCameraCCDXSize", SHAPE[1])
    core.setProperty("Camera", "OnCameraCCDYSize", SHAPE[0])
    core.setExposure(1.0)
    core.mda.engine.use_hardware_sequencing = False
    plan = useq.MDASequence(
        time_plan={"interval": 0, "loops": 25},
        channels=["DAPI", "FITC"],
        z_plan={"range": 3, "step": 1},
        axis_order="tpcz",
    )
    kills = iter([server.kill, server.begin])

    def fault() -> None:
        if do := next(kills, None):
            do()

    try:
        answers, report = acquire(core, server.endpoint, plan, tmp_path, {8: fault})
    finally:
        core.unloadAllDevices()
    assert report.is_complete
    assert [seq for seq, *_ in answers] == list(range(200))
    assert [event for _, event, *_ in answers] == [tuple(sorted(event.index.items())) for event in plan]
