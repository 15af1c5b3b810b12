"""Ray places a gateway's workers on two nodes; they become fewer and more, are killed; nothing differs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from faults.bundles import write_tiny_bundle
from faults.clusters import WORKER, RayCluster, processes, ray_cluster
from faults.movies import Movie, compare, said

from dimstream_client import Client
from dimstream_models.bundle import read_bundle
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import FrameTask, StreamSpec

pytestmark = pytest.mark.slow

FRAMES = 90
PATIENCE_S = 120
Answers = list[dict[str, Any]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def running(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    with ray_cluster(bundle, tmp_path_factory.mktemp("cluster")) as running:
        yield running
    assert not processes("ray::"), "processes are left"


def stream(endpoint: str, at: dict[int, Callable[[], object]]) -> Answers:
    movie, answers = Movie(), []
    with Client(endpoint, timeout_s=10) as client:
        sent = ((movie.frame(seq), movie.index(seq)) for seq in range(FRAMES))
        for result in client.stream(sent, maps=True, split_every=4):
            answers.append(said(result))
            if len(answers) in at:
                at[len(answers)]()
    return answers


def workers(running: RayCluster) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{running.gateway.http}/v1/workers", timeout=30) as answer:
        return list(json.load(answer)["workers"])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not true within {PATIENCE_S} s"
        time.sleep(0.05)


def test_workers_become_fewer_and_more_while_frames_come(running: RayCluster) -> None:
    until(lambda: [one["trouble"] for one in workers(running)] == [None, None])
    at_first = {one["address"] for one in workers(running)}

    def have(count: int) -> None:
        running.gateway.change_settings("workers", ray_workers=count)
        until(lambda: [one["trouble"] for one in workers(running)] == [None] * count)

    undisturbed = stream(running.gateway.endpoint, {})
    assert "event=stream_moved" not in running.gateway.log
    resizing = {20: lambda: have(1), 55: lambda: have(2)}
    with ThreadPoolExecutor() as pool:  # a stream on each worker, one of which moves
        both = pool.map(lambda at: stream(running.gateway.endpoint, at), [resizing, {}])
        for disturbed in both:
            comparison = compare(undisturbed, disturbed)
            assert comparison.is_identical, comparison
    assert "event=stream_moved" in running.gateway.log
    assert len(at_first & {one["address"] for one in workers(running)}) == 1
    assert len(processes(WORKER)) == 2


def test_a_worker_and_a_node_are_killed(running: RayCluster, bundle: Path) -> None:
    until(lambda: [one["trouble"] for one in workers(running)] == [None, None])
    at_first = {one["address"] for one in workers(running)}

    def kill_the_worker() -> None:
        [address] = [one["address"] for one in workers(running) if one["streams"]]
        killed = next(pid for pid in processes(WORKER) if listens(pid, address))
        os.kill(killed, signal.SIGKILL)

    def kill_the_node() -> None:
        running.cluster.remove_node(running.node, allow_graceful=False)

    undisturbed = stream(running.gateway.endpoint, {})
    assert {each["flag"] for each in undisturbed} == {"ok", "suspect", "unjudged"}
    disturbed = stream(running.gateway.endpoint, {25: kill_the_worker, 60: kill_the_node})
    comparison = compare(undisturbed, disturbed)
    assert comparison.is_identical, comparison
    assert disturbed[0]["pixels"] == of_one_engine(bundle)
    until(lambda: [one["trouble"] for one in workers(running)] == [None, None])
    assert {one["address"] for one in workers(running)} != at_first


def of_one_engine(bundle: Path) -> str:
    """SHA-256 of the first frame's pixels as an engine without gateway, Ray and store gives them."""
    engine, movie = LocalEngine([read_bundle(bundle)], threads=1), Movie()
    spec = StreamSpec(next(iter(engine.models())), (movie.side, movie.side), "uint16")
    result = engine.submit(engine.open(spec), FrameTask(0, movie.frame(0), 0)).result(PATIENCE_S)
    engine.drain().result(PATIENCE_S)
    assert result.pixels is not None
    return hashlib.sha256(result.pixels.tobytes()).hexdigest()


def listens(pid: int, endpoint: str) -> bool:
    """Whether a process has the socket of an endpoint."""
    port = int(endpoint.rpartition(":")[2])
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    inodes = {line[9] for line in lines if int(line[1].rpartition(":")[2], 16) == port and line[3] == "0A"}
    held = {os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir() if one.exists() or one.is_symlink()}
    return any(f"socket:[{inode}]" in held for inode in inodes)
