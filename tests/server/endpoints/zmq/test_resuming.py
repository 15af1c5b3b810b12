"""Streams go on after a lost connection, on the same server and on the next one, and only for who may."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bfloat16 import needs_bfloat16

from dimstream_client.messages import (
    Ack,
    Close,
    Error,
    Frame,
    Open,
    Opened,
    PlaneIndex,
    Result,
    Skip,
    Update,
    Updated,
)
from dimstream_server.engine.stream_state import Gap
from dimstream_server.engine.thread_commands import Append

SHAPE = (24, 32)
OPEN = Open(client="test", model="blur", shape=SHAPE, dtype="uint16")
FRAMES = 12


def _again(opened: Opened, next_result: int, **changes: Any) -> Open:
    fields = {"stream": opened.stream, "resume_token": opened.resume_token, **changes}
    return replace(OPEN, next_result=next_result, **fields)


def _frame(opened: Opened, seq: int, planes: int = 1) -> Frame:
    rng = np.random.default_rng(seq)
    pixels = rng.poisson(np.linspace(1, 40 + 9 * (seq % 5), 24 * 32).reshape(SHAPE)).astype(np.uint16)
    return Frame(opened.stream, seq, pixels, PlaneIndex(t=seq // planes, z=seq % planes))


def _said(result: Result) -> tuple[Any, ...]:
    """All of a result that no clock and no window decides."""
    pixels = None if result.pixels is None else result.pixels.tobytes()
    return replace(result, stream="", pixels=None, t_ms=None, limit=0), pixels  # type: ignore[arg-type]


def _undisturbed(peer: Any, planes: int = 1) -> list[tuple[Any, ...]]:
    opened = peer.open()
    return [_said(peer.ask(_frame(opened, seq, planes))) for seq in range(FRAMES)]


@pytest.fixture
def durable(start_server: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Start a server with a journal; the next one has the same."""

    def make(*bundles: Any) -> Any:
        return start_server(*bundles, server={"state": tmp_path / "state"})

    return make


@pytest.mark.parametrize("planes", [1, 3])
def test_the_next_server_goes_on_as_if_nothing_had_happened(durable: Any, connect: Any, planes: int) -> None:
    server = durable()
    peer = connect(server)
    undisturbed = _undisturbed(peer, planes)
    opened = peer.open()
    assert [_said(peer.ask(_frame(opened, seq, planes))) for seq in range(7)] == undisturbed[:7]
    server.begin_stop()
    server.wait_stopped()

    peer = connect(durable())
    # the results of 5 and 6 have not reached the client
    resumed = peer.ask(_again(opened, 5))
    assert (resumed.stream, resumed.next_seq, resumed.limit) == (opened.stream, 5, 13)
    assert resumed.boot_id != opened.boot_id
    assert resumed.references == tuple(range(5 - planes, 5))
    for seq in resumed.references:
        peer.send(_frame(opened, seq, planes))
    again = [_said(peer.ask(_frame(opened, seq, planes))) for seq in range(5, FRAMES)]
    assert again == undisturbed[5:]
    closed = peer.ask(Close(opened.stream, FRAMES - 1))
    assert (closed.counts["done"], closed.counts["failed"]) == (FRAMES, 0)


def test_another_connection_takes_the_stream_over(server: Any, connect: Any) -> None:
    first, second = connect(server), connect(server)
    undisturbed = _undisturbed(first)
    opened = first.open()
    for seq in range(4):
        first.ask(_frame(opened, seq))
    resumed = second.ask(_again(opened, 4))
    assert resumed.references == (3,)
    second.send(_frame(opened, 3))
    assert _said(second.ask(_frame(opened, 4))) == undisturbed[4]
    assert first.ask(_frame(opened, 5)).code == "unknown_stream"


def test_a_frame_that_was_answered_before_is_answered_once_more_and_not_twice(
    server: Any, connect: Any
) -> None:
    peer = connect(server)
    opened = peer.open()
    for seq in range(3):
        peer.ask(_frame(opened, seq))
    peer.ask(_again(opened, 2))
    assert peer.ask(_frame(opened, 0)).code == "duplicate"
    peer.send(_frame(opened, 1))  # the reference frame
    assert peer.ask(_frame(opened, 1)).code == "duplicate"
    assert peer.ask(_frame(opened, 2)).seq == 2
    assert peer.ask(Close(opened.stream, 2)).counts["done"] == 3


def test_a_client_without_the_context_gets_an_unjudged_frame_that_says_why(server: Any, connect: Any) -> None:
    peer = connect(server)
    opened = peer.open()
    for seq in range(3):
        peer.ask(_frame(opened, seq))
    peer.ask(_again(opened, 3))
    result = peer.ask(_frame(opened, 3))
    assert (result.flag, result.reason) == (
        "unjudged",
        "the previous frame 2 was not sent again for the comparison",
    )


def test_holes_and_updates_are_remembered(durable: Any, connect: Any) -> None:
    server = durable()
    peer = connect(server)
    opened = peer.open()
    peer.ask(_frame(opened, 0))
    assert peer.ask(Skip(opened.stream, 1, 4, "a gap")).limit == 13
    in_force = peer.ask(Update(opened.stream, 5, thresholds={"ssim": -0.5, "background_max": 2}))
    assert isinstance(in_force, Updated)
    later = peer.ask(Update(opened.stream, 9, thresholds={"ssim": 0.25}))
    server.begin_stop()
    server.wait_stopped()

    peer = connect(durable())
    resumed = peer.ask(_again(opened, 5))
    assert resumed.thresholds == in_force.thresholds
    assert resumed.references == (0,)
    peer.send(_frame(opened, 0))
    result = peer.ask(_frame(opened, 5))
    assert (result.flag, result.compared_seq) == ("ok", 0)
    # an UPDATED that was lost is asked for again
    assert peer.ask(Update(opened.stream, 5, thresholds={"ssim": -0.5, "background_max": 2})) == in_force
    assert peer.ask(Update(opened.stream, 9, thresholds={"ssim": 0.25})) == later
    closed = peer.ask(Close(opened.stream, 5))
    assert (closed.counts["done"], closed.counts["skipped"]) == (2, 4)


def test_a_closed_stream_can_be_asked_for_its_last_results_again(server: Any, connect: Any) -> None:
    peer = connect(server)
    opened = peer.open()
    results = [_said(peer.ask(_frame(opened, seq))) for seq in range(3)]
    closed = peer.ask(Close(opened.stream, 2))
    peer.ask(_again(opened, 2))
    peer.send(_frame(opened, 1))
    assert _said(peer.ask(_frame(opened, 2))) == results[2]
    assert peer.ask(Close(opened.stream, 2)) == closed


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"resume_token": "0" * 32}, "bad_token"),
        ({"stream": "f" * 16}, "bad_token"),
        ({"resume_token": None}, "bad_field"),
        ({"stream": None}, "bad_field"),
        ({"shape": (24, 33)}, "bad_field"),
        ({"out_dtype": "float32"}, "bad_field"),
        ({"split_every": 1}, "bad_field"),
        ({"offset": 100.0}, "bad_field"),
        ({"next_result": 1}, "bad_field"),
        ({"next_result": 2**53 - 1}, "bad_field"),
    ],
)
def test_who_may_not_resume_is_refused_and_the_stream_lives_on(
    server: Any, connect: Any, changes: dict[str, Any], code: str
) -> None:
    owner, stranger = connect(server), connect(server)
    opened = owner.open()
    for seq in range(3):
        owner.ask(_frame(opened, seq))
    owner.send(Ack(opened.stream, 2))
    owner.ask(_frame(opened, 3))
    refusal = stranger.ask(replace(_again(opened, 3), **changes))
    assert (type(refusal), refusal.code) == (Error, code)
    assert opened.resume_token not in refusal.detail
    if code == "bad_token":
        assert owner.ask(_frame(opened, 4)).seq == 4
    else:
        assert owner.ask(_again(opened, 4)).next_seq == 4


def test_a_model_that_is_another_now_is_no_substitute(durable: Any, connect: Any, tiny_bundle: Any) -> None:
    server = durable()
    peer = connect(server)
    opened = peer.open()
    peer.ask(_frame(opened, 0))
    server.begin_stop()
    server.wait_stopped()
    other = durable(tiny_bundle("blur", sha256="f" * 64))
    peer = connect(other)
    refusal = peer.ask(_again(opened, 1))
    assert refusal.code == "unknown_model"
    assert "f" * 64 in refusal.detail
    other.begin_stop()
    other.wait_stopped()
    assert connect(durable()).ask(_again(opened, 1)).next_seq == 1


@needs_bfloat16
def test_another_precision_is_no_substitute(
    durable: Any, start_server: Any, connect: Any, tmp_path: Path
) -> None:
    server = durable()
    peer = connect(server)
    opened = peer.open()
    peer.ask(_frame(opened, 0))
    server.begin_stop()
    server.wait_stopped()
    rounding = start_server(server={"state": tmp_path / "state", "device": ("openvino:cpu@bf16",)})
    refusal = connect(rounding).ask(_again(opened, 1))
    assert refusal.code == "unknown_model"
    assert "denoised in float32, but this server uses bfloat16" in refusal.detail
    rounding.begin_stop()
    rounding.wait_stopped()
    assert connect(durable()).ask(_again(opened, 1)).next_seq == 1


def test_a_lease_ends_for_a_client_that_is_away_and_for_no_other(start_server: Any, connect: Any) -> None:
    server = start_server(zmq={"lease_s": 0.3})
    here, gone = connect(server), connect(server)
    stays, ends = here.open(), gone.open()
    gone.close()
    deadline = time.monotonic() + 60
    asking = connect(server)
    while isinstance(answer := asking.ask(_again(ends, 0)), Opened):
        asking.close()
        assert time.monotonic() < deadline
        time.sleep(1)
        asking = connect(server)
    assert answer.code == "bad_token"
    assert here.ask(_frame(stays, 0)).seq == 0


def test_a_server_that_is_told_so_forgets_its_streams(start_server: Any, connect: Any) -> None:
    server = start_server(server={"state": "memory"})
    peer = connect(server)
    opened = peer.open()
    server.begin_stop()
    server.wait_stopped()
    assert connect(start_server(server={"state": "memory"})).ask(_again(opened, 0)).code == "bad_token"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_whose_engine_dies_stops_and_its_streams_go_on_at_the_next(
    durable: Any, connect: Any
) -> None:
    server = durable()
    peer = connect(server)
    undisturbed = _undisturbed(peer)
    opened = peer.open()
    assert [_said(peer.ask(_frame(opened, seq))) for seq in range(3)] == undisturbed[:3]
    server.engine._devices.threads[0].commands.put(Append("no such stream", Gap(0, 0)))
    peer.send(_frame(opened, 3))
    assert server.wait_stopped() is False

    peer = connect(durable())
    resumed = peer.ask(_again(opened, 3))
    for seq in resumed.references:
        peer.send(_frame(opened, seq))
    assert [_said(peer.ask(_frame(opened, seq))) for seq in range(3, 6)] == undisturbed[3:6]
