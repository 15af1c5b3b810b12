"""Workers of a gateway are killed and frozen, and so is the gateway: frames are answered once, the same."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from faults.bundles import write_tiny_bundle
from faults.gateways import Cluster, RandomKills, cluster
from faults.movies import Movie, compare, said
from faults.processes import Server

from dimstream_client import Client

pytestmark = pytest.mark.slow

FRAMES = 90
WAYS = {"maps": True, "split_every": 4}
PATIENCE_S = 60
Answers = list[dict[str, Any]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    with cluster(bundle, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(running: Cluster) -> Answers:
    """What a worker answers without a gateway."""
    answers = stream(running.workers[0].endpoint)
    assert {each["flag"] for each in answers} == {"ok", "suspect", "unjudged"}, "such a movie proves nothing"
    return answers


def stream(
    endpoint: str, at: dict[int, Callable[[], object]] | None = None, *, frames: int = FRAMES
) -> Answers:
    """Stream a movie; do something once so many results have come."""
    movie, answers = Movie(), []
    with Client(endpoint, timeout_s=5) as client:
        sent = ((movie.frame(seq), movie.index(seq)) for seq in range(frames))
        for result in client.stream(sent, **WAYS):
            answers.append(said(result))
            if at and len(answers) in at:
                at[len(answers)]()
    return answers


def same(undisturbed: Answers, answers: Answers) -> None:
    comparison = compare(undisturbed, answers)
    assert comparison.is_identical, comparison


def ready(running: Cluster) -> tuple[bool, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{running.gateway.http}/readyz", timeout=10) as answer:
            return True, json.load(answer)
    except urllib.error.HTTPError as error:
        return False, json.load(error)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not true within {PATIENCE_S} s"
        time.sleep(0.02)


def test_a_gateway_answers_as_its_workers_do(running: Cluster, undisturbed: Answers) -> None:
    same(undisturbed, stream(running.gateway.endpoint))


def test_workers_come_and_go_by_their_file(running: Cluster, undisturbed: Answers) -> None:
    def used(*workers: Server) -> Callable[[], None]:
        def act() -> None:
            running.use(*workers)
            until(lambda: listed(running) == {worker.endpoint: True for worker in workers})

        return act

    first, second = running.workers
    at = {20: used(first), 40: used(first, second), 60: used(second), 80: used(first, second)}
    same(undisturbed, stream(running.gateway.endpoint, at))


def listed(running: Cluster) -> dict[str, bool]:
    """The gateway's workers, and whether each can be used."""
    with urllib.request.urlopen(f"{running.gateway.http}/v1/workers", timeout=10) as answer:
        return {one["address"]: one["trouble"] is None for one in json.load(answer)["workers"]}


def test_workers_killed_at_random(running: Cluster, undisturbed: Answers) -> None:
    with RandomKills(running.workers, seed=15, most=2) as kills:
        while kills.kills < kills.most:
            same(undisturbed, stream(running.gateway.endpoint))


def test_frozen_workers_are_lost_and_used_again_when_they_answer(
    running: Cluster, undisturbed: Answers
) -> None:
    first, second = running.workers

    def all_frozen() -> None:
        first.thaw()
        first.freeze()
        second.freeze()
        until(lambda: not ready(running)[0])
        first.thaw()
        second.thaw()

    same(undisturbed, stream(running.gateway.endpoint, {20: first.freeze, 50: all_frozen}))
    until(lambda: ready(running)[0])


def test_a_gateway_is_killed(running: Cluster, undisturbed: Answers) -> None:
    def act() -> None:
        running.gateway.kill()
        running.gateway.start()

    same(undisturbed, stream(running.gateway.endpoint, {45: act}))
