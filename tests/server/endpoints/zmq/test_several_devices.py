"""A server of several devices: who is on which, and what is seen when one of them is lost."""

import json
import urllib.request
from typing import Any

import numpy as np
import pytest

from dimstream_client.messages import Frame, Opened
from dimstream_server.engine.stream_state import Gap
from dimstream_server.engine.thread_commands import Append

SHAPE = (24, 32)


def _frame(opened: Opened, seq: int) -> Frame:
    field = np.random.default_rng(7).poisson(40, SHAPE) + np.random.default_rng(seq).integers(0, 2, SHAPE)
    return Frame(stream=opened.stream, seq=seq, pixels=field.astype(np.uint16))


def _said(result: Any) -> tuple[Any, ...]:
    return result.seq, result.status, result.flag, result.ssim_prev, result.device, result.pixels.tobytes()


def _get(server: Any, path: str) -> bytes:
    """The body of an answer with status 200."""
    with urllib.request.urlopen(server.addresses.http + path, timeout=60) as answer:
        body: bytes = answer.read()
    return body


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_clients_notice_nothing_when_one_of_two_devices_is_lost(start_server: Any, connect: Any) -> None:
    server = start_server(server={"device": ["cpu", "cpu"]})
    peers = [connect(server) for _ in range(4)]
    streams = [peer.open(SHAPE) for peer in peers]
    before = [[_said(peer.ask(_frame(one, 0)))] for peer, one in zip(peers, streams, strict=True)]
    assert [one.streams for one in server.engine.devices()] == [2, 2]
    server.engine._devices.threads[0].commands.put(Append("no such stream", Gap(0, 0)))
    for said, peer, one in zip(before, peers, streams, strict=True):
        said += [_said(peer.ask(_frame(one, seq))) for seq in range(1, 4)]
    assert before[1:] == before[:-1]  # whether they were on that device or not
    assert {one[2:3] for said in before for one in said[1:]} == {("ok",)}

    report = json.loads(_get(server, "/readyz"))
    assert (report["ready"], report["checks"]["device"]) == (True, "ok")
    assert "1 of 2 devices are lost" in report["checks"]["devices"]
    assert report["server"]["device"] == "cpu#1,cpu#2"
    metrics = _get(server, "/metrics").decode()
    assert 'dimstream_device_up{device="cpu#1"} 0.0' in metrics
    assert 'dimstream_device_up{device="cpu#2"} 1.0' in metrics
    assert 'dimstream_device_streams{device="cpu#2"} 4.0' in metrics
    assert 'dimstream_check_ok{check="devices"} 0.0' in metrics
    assert "dimstream_ready 1.0" in metrics


@pytest.mark.slow
def test_what_open_says_of_priority_and_weight_is_in_the_list(start_server: Any, connect: Any) -> None:
    server = start_server()
    peer = connect(server)
    peer.open(SHAPE, priority="batch", weight=3)
    peer.open(SHAPE)
    listed = json.loads(_get(server, "/v1/streams"))["streams"]
    assert sorted((one["priority"], one["weight"]) for one in listed) == [("batch", 3), ("live", 1)]


@pytest.mark.slow
def test_a_client_that_asks_for_a_deadline_gets_raw_frames_that_say_so(
    start_server: Any, connect: Any
) -> None:
    server = start_server()
    peer = connect(server)
    opened = peer.open(SHAPE, deadline_ms=1e-6)
    for seq in range(2):
        result = peer.ask(_frame(opened, seq))
        assert (result.fallback, result.flag) == (True, "unjudged")
        np.testing.assert_array_equal(result.pixels, _frame(opened, seq).pixels)
    assert 'dimstream_fallbacks_total{endpoint="zmq",model="blur"} 2.0' in _get(server, "/metrics").decode()
