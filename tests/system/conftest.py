"""A real server with the bundle that ships, in a process of its own."""

import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from server_starts import starts_are_forks
from shipped import BUNDLE

from dimstream_client.files import open_images
from dimstream_models.bundle import read_attachment, read_bundle
from dimstream_server.demo import MOVIE
from dimstream_server.server_process import RunningServer, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """A running server."""
    with starts_are_forks(), running_server(BUNDLE) as running:
        yield running


@pytest.fixture(scope="session")
def sample() -> NDArray[np.uint16]:
    """The bundle's sample movie, (T, H, W) photon counts."""
    with open_images(BytesIO(read_attachment(read_bundle(BUNDLE), MOVIE))) as stack:
        return stack.asarray()


@pytest.fixture
def eventually() -> Any:
    """Wait until a condition holds, or fail saying that it never did."""

    def wait(condition: Any, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not true within {timeout_s:g} s"
            time.sleep(0.02)

    return wait
