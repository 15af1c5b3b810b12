"""Live mode has no events: the newest image is looked at, and what is passed over is counted."""

import threading

import numpy as np
import pytest

from dimstream_client import Client
from dimstream_client.micromanager import LiveStream, sent_stream

pytest.importorskip("pymmcore_plus")


def kind_of(thread):
    return type(thread).__name__


@pytest.mark.parametrize("kind", ["demo_core", "replay"])
def test_each_time_that_live_mode_is_on_is_a_stream(request, peer, eventually, kind):
    core, server, seen = request.getfixturevalue(kind), peer(), []
    with Client(server.endpoint) as client:
        live = LiveStream(
            core, client, on_result=lambda result, sent: seen.append((result, sent)), poll_s=0.001
        )
        live.connect()
        for n in (1, 2):
            core.startContinuousSequenceAcquisition(0)
            eventually(lambda n=n: sum(sent.run == n for _, sent in seen) >= 5)
            core.stopSequenceAcquisition()
            # A camera in Python may still take its last frame, and the next start would clear its buffer.
            eventually(lambda: "AcquisitionThread" not in map(kind_of, threading.enumerate()))
        reports = live.close(timeout_s=60)
    assert [one.end for one in reports] == ["finished", "finished"]
    assert [opened.mode for opened in server.opened] == ["latest", "latest"]
    for run in (1, 2):
        numbers = [sent.event["t"] for _, sent in seen if sent.run == run]
        assert numbers == sorted(set(numbers))
        (report,) = (one for one in reports if one.number == run)
        assert report.seen == report.sent
        assert report.seen + report.passed_over <= numbers[-1] + 1 + report.sent
    assert seen[0][1].settings == {"exposure_ms": 1.0}
    frames = [message for message in server.log if message.TYPE == "FRAME"]
    assert frames[0].meta["camera"] == core.getCameraDevice()


def test_pixels_of_live_mode_are_those_of_the_camera(replay, movie, peer, eventually):
    seen = []
    with Client(peer().endpoint) as client:
        live = LiveStream(replay, client, on_result=lambda *both: seen.append(both), poll_s=0.001)
        replay.startContinuousSequenceAcquisition(0)
        live.connect()  # it is on already
        eventually(lambda: len(seen) >= 5)
        replay.stopSequenceAcquisition()
        live.close(timeout_s=60)
    for result, _ in seen:
        np.testing.assert_array_equal(result.pixels, movie[int(result.pixels[0, 0])])


def test_a_run_is_not_live_mode(replay, peer):
    useq = pytest.importorskip("useq")
    server = peer()
    with Client(server.endpoint) as client:
        live = LiveStream(replay, client)
        live.connect()
        replay.run_mda(useq.MDASequence(time_plan={"interval": 0, "loops": 5}), block=True)
        assert live.close(timeout_s=60) == []
    assert not server.opened


def test_a_camera_that_is_stopped_without_a_signal_ends_it(replay, peer, eventually, monkeypatch):
    with Client(peer().endpoint) as client:
        live = LiveStream(replay, client, poll_s=0.001)
        live.connect()
        replay.startContinuousSequenceAcquisition(0)
        eventually(lambda: live.reports and live.reports[0].answered >= 2)
        monkeypatch.setattr(replay, "isSequenceRunning", lambda: False)
        eventually(lambda: live.reports[0].end)
        monkeypatch.undo()
        replay.stopSequenceAcquisition()
        live.close(timeout_s=60)


def test_a_server_that_answers_nothing_holds_up_nothing(replay, peer, eventually, monkeypatch):
    monkeypatch.setattr(sent_stream, "_MOST_REPLACED", 8)
    server = peer()
    server.hold.set()
    with Client(server.endpoint) as client:
        live = LiveStream(replay, client, poll_s=0.001)
        live.connect()
        replay.startContinuousSequenceAcquisition(0)
        eventually(lambda: live.reports and live.reports[0].sent >= 30)
        replay.stopSequenceAcquisition()
        (stream,) = live._sender._runs[0].streams
        assert len(stream._sent) <= 8  # of those that were replaced nothing is kept
        server.hold.clear()
        (report,) = live.close(timeout_s=60)
    assert report.answered <= report.sent
    assert not stream._sent
    assert report.end == "finished"
