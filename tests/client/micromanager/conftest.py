"""Real cores: Micro-Manager's DemoCamera, and a camera in Python that plays a movie."""

import time
from pathlib import Path

import numpy as np
import pytest

SHAPE = (48, 64)


@pytest.fixture
def demo_core():
    """Micro-Manager's demo configuration, with small frames and short exposures."""
    pytest.importorskip("pymmcore_plus")
    from mm_test_adapters import device_adapter_path
    from pymmcore_plus import CMMCorePlus

    core = CMMCorePlus()
    core.setDeviceAdapterSearchPaths([device_adapter_path()])
    core.loadSystemConfiguration(Path(device_adapter_path()) / "MMConfig_demo.cfg")
    core.setProperty("Camera", "OnCameraCCDXSize", SHAPE[1])
    core.setProperty("Camera", "OnCameraCCDYSize", SHAPE[0])
    core.setExposure(1.0)
    core.mda.engine.use_hardware_sequencing = False  # on a busy machine it loses frames itself, and says so
    yield core
    core.mda.cancel()
    core.waitForSystem()
    core.unloadAllDevices()


@pytest.fixture
def movie():
    """(200, H, W) uint16 counts; the corner counts the frames."""
    counts = np.random.default_rng(5).poisson(3.0, (200, *SHAPE)).astype(np.uint16)
    counts[:, 0, 0] = np.arange(200)
    return counts


@pytest.fixture
def replay(movie):
    """A core that plays the movie."""
    pytest.importorskip("pymmcore_plus")
    from dimstream_client.micromanager import replay_core

    core = replay_core(movie, exposure_ms=1.0)
    core.mda.engine.use_hardware_sequencing = False
    yield core
    core.mda.cancel()
    core.unloadAllDevices()


@pytest.fixture
def eventually():
    """Wait until a condition holds, or fail saying that it never did."""

    def wait(condition, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not true within {timeout_s:g} s"
            time.sleep(0.01)

    return wait
