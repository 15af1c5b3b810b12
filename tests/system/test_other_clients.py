"""ZeroMQ of another maker against the real server: JeroMQ, which is ZMTP and CURVE written again in Java."""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.bundles import write_tiny_bundle
from faults.processes import Server

from dimstream_client import Client
from dimstream_client.keys import CurveKeys, choose_curve_keys, make_pair
from dimstream_server.cli import main

PROGRAM = Path(__file__).with_name("java") / "Dim1Client.java"
JAR = Path("/usr/local/share/java/jeromq.jar")  # where .ci/run puts it
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("java") is None or not JAR.exists(),
        reason="needs Java 17 and JeroMQ (.ci/run fetches it)",
    ),
]
SILENCE_S = 4.0  # a Java machine that starts on a busy computer may say nothing for a second or two
PAUSE_MS = round(1.5 * SILENCE_S * 1e3)
FRAMES = 2
# On a busy computer JeroMQ 0.6 sometimes connects and then sends nothing, not even its greeting.
ATTEMPTS = 5
Keys = dict[str, Any]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    assert main(["keygen", str(folder)]) == 0
    secret, public = make_pair(folder / "own", "java")
    public.rename(folder / "clients" / public.name)
    return {"key": secret, "server_key": folder / "server.pub"}


@pytest.fixture(scope="module", params=["plain", "CURVE"])
def server(
    request: pytest.FixtureRequest, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Keys]]:
    folder = tmp_path_factory.mktemp("server")
    own: Keys = keys if request.param == "CURVE" else {}
    home = keys["server_key"].parent
    locked = {"server_secret_key": str(home / "server.key"), "allowed_clients": str(home / "clients")}
    settings = {"zmq": {"silence_s": SILENCE_S, **(locked if own else {})}}
    with Server(write_tiny_bundle(folder / "tiny"), folder / "server", settings=settings) as running:
        yield running, own


def by_java(
    server: Server,
    keys: Keys,
    *,
    shape: tuple[int, int],
    pause_ms: int = 0,
    heartbeat_ms: int = 0,
) -> list[tuple[str, int, dict[str, Any]]]:
    """TYPE, checksum of the pixels and header of each answer."""
    numbers = map(str, (FRAMES, *shape, pause_ms, heartbeat_ms))
    lightly = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]  # it lives for seconds
    command = ["java", *lightly, "-cp", str(JAR), str(PROGRAM), server.endpoint, *numbers]
    if keys:
        curve = choose_curve_keys(**keys)
        assert isinstance(curve, CurveKeys)
        command += [key.decode() for key in (curve.server, curve.public, curve.secret)]
    for _ in range(ATTEMPTS):
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if "no answer to OPEN" not in run.stderr:
            break
    told = [line.split(" ", 2) for line in run.stdout.splitlines() if line.startswith("DIM1")]
    assert told, run.stderr
    assert told[-1][0] == "DIM1CLOSED", run.stdout + run.stderr
    return [(kind, int(checksum), json.loads(header)) for kind, checksum, header in told]


def movie(frames: int, shape: tuple[int, int]) -> Any:
    """What Dim1Client.java sends."""
    rows, columns = np.indices(shape)
    return np.stack([(n + 1) * (rows + columns) % 251 for n in range(frames)]).astype(np.uint16)


@pytest.mark.parametrize(("shape", "heartbeat_ms"), [((24, 32), 0), ((700, 601), 1000)], ids=str)
def test_jeromq_gets_the_pixels_that_libzmq_gets(
    server: tuple[Server, Keys], shape: tuple[int, int], heartbeat_ms: int
) -> None:
    """Also when it is silent for longer than the server waits for the answer to a ping."""
    running, keys = server
    answers = by_java(running, keys, shape=shape, pause_ms=PAUSE_MS, heartbeat_ms=heartbeat_ms)
    with Client(running.endpoint, **keys) as client:
        pixels = [result.pixels for result in client.stream(movie(FRAMES, shape))]
    expected = [(n, zlib.crc32(each.tobytes())) for n, each in enumerate(pixels) if each is not None]
    assert len(expected) == FRAMES
    assert [
        (header["seq"], checksum) for kind, checksum, header in answers if kind == "DIM1RESULT"
    ] == expected
