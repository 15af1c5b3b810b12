"""Every frame of a run gets its result, whatever other listeners, the runner or the server do."""

import threading
import time

import numpy as np
import pytest

from dimstream_client import Client, Spool
from dimstream_client.errors import ArgumentError, SpoolFull, Timeout
from dimstream_client.micromanager import MdaStream, PhotonScale, StreamSettings, runs

pytest.importorskip("pymmcore_plus")
useq = pytest.importorskip("useq")

THREAD_DIES = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
MANY = useq.MDASequence(
    stage_positions=[(0, 0, 0), (10, 20, 1)],
    time_plan={"interval": 0.001, "loops": 2},
    channels=["DAPI", "FITC"],
    z_plan={"range": 2, "step": 1},
    axis_order="tpcz",
)


def loops(n, **more):
    return useq.MDASequence(time_plan={"interval": 0, "loops": n}, **more)


class Seen:
    """Results as they came."""

    def __init__(self):
        self.results = []

    def __call__(self, result, sent):
        self.results.append((result, sent))

    @property
    def corners(self):
        return [int(result.pixels[0, 0]) for result, _ in self.results]


def open_stream(core, client, **more):
    more.setdefault("on_result", Seen())
    return MdaStream(core, client, **more)


WAYS = ["connected", "output"]


def run(core, stream, events, way="connected", *, also=()):
    """Run it to its end."""
    if way == "connected":
        stream.connect()
        core.run_mda(events, output=list(also) or None, block=True)
    else:
        core.run_mda(events, output=[stream, *also], block=True)


@pytest.mark.parametrize("way", WAYS)
def test_frames_keep_their_index_time_scale_and_state(demo_core, peer, way):
    server, seen, begun = peer(), Seen(), time.time()
    settings = StreamSettings(save=True, user="Ada")
    with Client(server.endpoint) as client:
        stream = open_stream(demo_core, client, on_result=seen, settings=settings)
        run(demo_core, stream, MANY, way)
        (report,) = stream.close(timeout_s=60)
    assert report.is_complete
    assert (report.seen, report.end, report.problems) == (24, "finished", [])
    (opened,) = server.opened
    assert (opened.axes, opened.channels, opened.shape) == ("TPCZYX", ("DAPI", "FITC"), (48, 64))
    assert (opened.pixel_size_um, opened.frame_interval_s) == (1.0, 0.001)
    assert (opened.save, opened.user, opened.mode) == (True, "Ada", "lossless")
    frames = [message for message in server.log if message.TYPE == "FRAME"]
    planned = [dict(event.index) for event in MANY]
    assert [frame.meta["event"] for frame in frames] == planned
    assert [vars(frame.index) for frame in frames] == planned
    times = [frame.t_acq for frame in frames]
    assert times == sorted(times)
    assert begun <= times[0]
    assert times[-1] <= time.time()
    meta = frames[-1].meta
    assert (meta["channel"], meta["camera"], meta["exposure_ms"]) == ("FITC", "Camera", 1.0)
    assert meta["position_um"] == pytest.approx(
        {"x": 10.0, "y": 20.0, "z": 2.0}, abs=0.02
    )  # steps of the stage
    assert meta["properties"]["Excitation/Label"] == "Chroma-HQ480"
    sent = [one for _, one in seen.results]
    assert [one.event for one in sent] == planned
    assert sent[0].settings["exposure_ms"] == 1.0
    assert sent[0].mean_photons == pytest.approx(frames[0].pixels.mean())


def test_pixels_are_those_of_the_camera(replay, movie, peer):
    seen = Seen()
    with Client(peer().endpoint) as client, open_stream(replay, client, on_result=seen) as stream:
        run(replay, stream, loops(20))
        stream.close(timeout_s=60)
    assert len(seen.results) == 20
    for n, (result, _) in enumerate(seen.results):
        np.testing.assert_array_equal(result.pixels, movie[n])


def test_each_run_is_a_stream_of_its_own(replay, peer):
    server, seen = peer(), Seen()
    with Client(server.endpoint) as client, open_stream(replay, client, on_result=seen) as stream:
        for _ in range(3):
            run(replay, stream, loops(4))
        reports = stream.close(timeout_s=60)
    assert [one.streams for one in reports] == [["s0"], ["s1"], ["s2"]]
    assert [one.run for _, one in seen.results] == [1] * 4 + [2] * 4 + [3] * 4


# --- the camera's scale


def test_offset_and_gain_are_given_or_read_from_properties_that_are_named(demo_core, peer):
    server = peer()
    demo_core.setProperty("Camera", "Photon Conversion Factor", 2.5)
    scales = [
        PhotonScale(offset=100, gain=2.2),
        PhotonScale(offset=7, gain_property="Camera/Photon Conversion Factor"),
        PhotonScale(),
    ]
    with Client(server.endpoint) as client:
        for scale in scales:
            seen = Seen()
            with open_stream(demo_core, client, scale=scale, on_result=seen) as stream:
                run(demo_core, stream, loops(1))
                stream.close(timeout_s=60)
            ((result, sent),) = seen.results
            offset, gain = server.opened[-1].offset or 0, server.opened[-1].gain or 1
            assert sent.mean_photons == pytest.approx((result.pixels.mean() - offset) / gain)
    assert [(one.offset, one.gain) for one in server.opened] == [(100, 2.2), (7, 2.5), (None, None)]


WRONG_SCALES = {
    "both": ({"gain": 2, "gain_property": "Camera/Gain"}, "a number or a property"),
    "no device": ({"offset_property": "Offset"}, "DEVICE/PROPERTY"),
    "gain of nothing": ({"gain": 0}, "gain"),
}


@pytest.mark.parametrize("name", WRONG_SCALES)
def test_a_scale_that_cannot_be_is_refused(name):
    given, words = WRONG_SCALES[name]
    with pytest.raises(ArgumentError, match=words):
        PhotonScale(**given)


@pytest.mark.parametrize(
    ("prop", "words"), [("Camera/Sensitivity", "no such property"), ("Camera/PixelType", "expected a number")]
)
def test_a_scale_that_a_device_does_not_tell_refuses_the_run_in_words(demo_core, peer, prop, words):
    server = peer()
    with Client(server.endpoint) as client:
        stream = open_stream(demo_core, client, scale=PhotonScale(gain_property=prop))
        run(demo_core, stream, loops(3))
        (report,) = stream.close(timeout_s=60)
    assert not server.opened
    assert (report.seen, report.refused) == (3, 3)
    assert words in report.problems[0]


# --- traps of pymmcore-plus


class Raising:
    """Another output that fails on its first frame."""

    def frameReady(self, image, event, meta):
        raise RuntimeError("the other program's fault")


@pytest.mark.slow
@THREAD_DIES
def test_another_output_that_raises_costs_no_frame_when_connected(replay, peer):
    with Client(peer().endpoint) as client:
        stream = open_stream(replay, client)
        run(replay, stream, loops(10), also=[Raising()])
        (report,) = stream.close(timeout_s=60)
    assert (report.is_complete, report.answered, report.end) == (True, 10, "finished")


@THREAD_DIES
def test_as_an_output_beside_one_that_raises_the_loss_and_the_end_are_found(replay, peer, eventually):
    """pymmcore-plus ends the thread of all outputs then, and tells nobody the end of the run."""
    with Client(peer().endpoint) as client:
        stream = open_stream(replay, client, quiet_s=0.3)
        run(replay, stream, loops(10), "output", also=[Raising()])
        eventually(lambda: stream.reports and stream.reports[0].end)
        (report,) = stream.close(timeout_s=60)
    assert report.end == "finished"
    assert report.seen + report.missing == 10
    assert report.missing >= 9
    assert any("no signal came for the end" in one for one in report.problems)


def fail(*_):
    raise RuntimeError("the other program's fault")


@pytest.mark.slow
@pytest.mark.parametrize("ours_first", [True, False])
def test_another_listener_that_raises_costs_frames_only_before_us_and_then_it_is_told(
    replay, peer, ours_first
):
    with Client(peer().endpoint) as client:
        stream = open_stream(replay, client)
        if ours_first:
            stream.connect()
        replay.mda.events.frameReady.connect(fail)
        run(replay, stream, loops(10))
        (report,) = stream.close(timeout_s=60)
    assert (report.answered, report.missing) == ((10, 0) if ours_first else (0, 10))
    assert report.end == "finished"
    assert report.is_complete is ours_first


def test_a_teardown_that_fails_hides_the_end_of_a_run_from_nobody(demo_core, peer, eventually, monkeypatch):
    monkeypatch.setattr(demo_core.mda.engine, "teardown_sequence", fail)
    with Client(peer().endpoint) as client:
        stream = open_stream(demo_core, client, quiet_s=0.3)
        run(demo_core, stream, loops(5))
        eventually(lambda: stream.reports and stream.reports[0].end)
        (report,) = stream.close(timeout_s=60)
    assert (report.end, report.answered, report.is_complete) == ("finished", 5, True)


def test_a_run_that_ends_early_is_no_run_with_holes(demo_core, peer):
    server = peer()
    with Client(server.endpoint) as client:
        stream = open_stream(demo_core, client)
        demo_core.mda.events.frameReady.connect(
            lambda image, event, meta: demo_core.mda.cancel() if event.index["t"] == 3 else None
        )
        run(demo_core, stream, useq.MDASequence(time_plan={"interval": 0.01, "loops": 50}))
        (report,) = stream.close(timeout_s=60)
    assert (report.end, report.missing, report.is_complete) == ("canceled", 0, True)
    assert report.seen + report.not_taken == 50
    assert not server.skips()


def test_a_camera_that_fails_ends_the_run_as_it_ended(demo_core, peer, monkeypatch):
    engine, snaps = demo_core.mda.engine, []

    def exec_event(event):
        snaps.append(event)
        if len(snaps) == 4:
            raise RuntimeError("the camera is unplugged")
        return type(engine).exec_event(engine, event)

    monkeypatch.setattr(engine, "exec_event", exec_event)
    with Client(peer().endpoint) as client:
        stream = open_stream(demo_core, client)
        stream.connect()
        with pytest.raises(RuntimeError, match="unplugged"):
            demo_core.mda.run(useq.MDASequence(time_plan={"interval": 0.01, "loops": 9}))
        (report,) = stream.close(timeout_s=60)
    assert (report.end, report.answered, report.not_taken) == ("errored", 3, 6)


def test_what_nobody_should_call_it_with_raises_nothing(demo_core, peer):
    with Client(peer().endpoint) as client:
        stream = open_stream(demo_core, client)
        stream.frameReady(None, None, None)
        stream.sequenceStarted(None, None)
        stream.sequenceCanceled(None)
        stream.sequenceFinished(None)
        run(demo_core, stream, loops(3))
        assert stream.close(timeout_s=60)[-1].is_complete


def test_frames_that_are_changed_after_they_were_given_are_sent_as_they_were(replay, movie, peer):
    def blacken(image, event, meta):
        image[:] = 0

    seen = Seen()
    with Client(peer().endpoint) as client, open_stream(replay, client, on_result=seen) as stream:
        stream.connect()
        replay.mda.events.frameReady.connect(blacken)
        run(replay, stream, iter(list(loops(8))))
        stream.close(timeout_s=60)
    assert seen.corners == list(range(8))


def test_a_frame_that_the_engine_left_out_is_a_hole_with_a_reason(demo_core, peer):
    """Events that are left out give no signal at all; the next frame's index tells."""
    from pymmcore_plus.mda import SkipEvent

    engine = demo_core.mda.engine
    whole = engine.setup_event

    def setup_event(event):
        if event.index["t"] in (2, 3):
            raise SkipEvent(1, "no light")
        whole(event)

    engine.setup_event = setup_event
    server = peer()
    with Client(server.endpoint) as client:
        stream = open_stream(demo_core, client)
        run(demo_core, stream, useq.MDASequence(time_plan={"interval": 0.01, "loops": 6}))
        (report,) = stream.close(timeout_s=60)
    assert (report.seen, report.missing, report.is_complete) == (4, 2, False)
    assert server.skips() == [(2, 3)]
    assert [f.index.t for f in server.log if f.TYPE == "FRAME"] == [0, 1, 4, 5]


def test_beside_a_file_that_pymmcore_plus_writes(demo_core, peer, tmp_path):
    with Client(peer().endpoint) as client:
        stream = open_stream(demo_core, client)
        run(demo_core, stream, loops(4), also=[tmp_path / "raw.ome.zarr"])
        assert stream.close(timeout_s=60)[0].is_complete
    assert (tmp_path / "raw.ome.zarr").is_dir()


# --- the server, the queue, the camera


def test_the_acquisition_does_not_wait_for_a_server_that_answers_nothing(replay, peer):
    server, seen = peer(), Seen()
    server.hold.set()
    with Client(server.endpoint) as client:
        stream = open_stream(replay, client, on_result=seen)
        run(replay, stream, loops(60))  # comes to its end
        assert not seen.results
        with pytest.raises(Timeout, match="in memory only"):
            stream.wait(timeout_s=0.1)
        server.hold.clear()
        (report,) = stream.close(timeout_s=60)
    assert report.is_complete
    assert seen.corners == list(range(60))


def test_frames_wait_for_a_server_that_comes_later(replay, peer, tmp_path):
    server, seen = peer(), Seen()
    server.leave()
    with Client(server.endpoint, timeout_s=1.0) as client:
        stream = open_stream(replay, client, on_result=seen, spool=tmp_path)
        run(replay, stream, loops(20))
        server.away.clear()
        (report,) = stream.close(timeout_s=60)
    assert seen.corners == list(range(20))
    assert report.is_complete
    assert not list(tmp_path.iterdir())


def test_frames_that_find_no_room_are_counted_and_named_to_the_server(replay, peer, movie):
    server, seen = peer(window=1), Seen()
    server.hold.set()
    with Client(server.endpoint) as client:
        stream = open_stream(replay, client, on_result=seen, max_bytes=3 * movie[0].nbytes)
        run(replay, stream, loops(30))
        server.hold.clear()
        (report,) = stream.close(timeout_s=60)
    assert report.no_room > 0
    assert report.sent + report.no_room == report.seen == 30
    assert (report.missing, report.is_complete) == (0, False)
    kept = seen.corners
    assert len(kept) == report.sent
    assert kept == sorted(set(kept))
    skipped = [one for one in server.log if one.TYPE == "SKIP"]
    assert sum(one.seq_to - one.seq_from + 1 for one in skipped) <= report.no_room
    assert all("no room" in one.reason for one in skipped)


def test_a_camera_whose_frame_size_changes_in_mid_run_gets_a_second_stream(demo_core, peer):
    server = peer()
    roi = (8, 8, 32, 16)
    events = [
        useq.MDAEvent(index={"t": t}, **({"roi": roi} if t == 5 else {}), reset_event_timer=t == 0)
        for t in range(10)
    ]
    with Client(server.endpoint) as client:
        stream = open_stream(demo_core, client)
        run(demo_core, stream, iter(events))
        (report,) = stream.close(timeout_s=60)
    assert [one.shape for one in server.opened] == [(48, 64), (16, 32)]
    assert (report.streams, report.is_complete) == (["s0", "s1"], True)
    assert "frames changed from" in report.problems[0]
    assert [f.index.t for f in server.log if f.TYPE == "FRAME"] == list(range(10))


def test_colour_frames_are_refused_in_words_and_the_run_goes_on(demo_core, peer):
    demo_core.setProperty("Camera", "PixelType", "32bitRGB")
    with Client(peer().endpoint) as client:
        stream = open_stream(demo_core, client)
        run(demo_core, stream, loops(3))
        (report,) = stream.close(timeout_s=60)
    assert (report.seen, report.refused, report.end) == (3, 3, "finished")
    assert "set the camera to grey values" in report.problems[0]
    assert len(report.problems) == 1


def test_a_model_that_is_not_there_refuses_one_run_and_not_the_next(replay, peer):
    server = peer()
    with Client(server.endpoint) as client:
        stream = open_stream(replay, client, settings=StreamSettings(model="none"))
        for _ in range(2):
            run(replay, stream, loops(3))
        reports = stream.close(timeout_s=60)
    assert [(one.refused, one.end) for one in reports] == [(3, "finished")] * 2
    assert "unknown_model" in reports[0].problems[0]


def test_what_a_callback_raises_is_kept_and_the_other_results_go_on(replay, peer):
    got = []

    def on_result(result, sent):
        got.append(result.seq)
        if result.seq == 1:
            raise OSError("the disk is full")

    with Client(peer().endpoint) as client:
        stream = open_stream(replay, client, on_result=on_result)
        run(replay, stream, loops(4))
        (report,) = stream.close(timeout_s=60)
    assert got == [0, 1, 2, 3]
    assert (report.not_delivered, report.is_complete) == (1, False)
    assert "the disk is full" in report.problems[0]


def test_frames_that_the_server_refuses_are_counted(replay, peer):
    with Client(peer(refuse={2: ["not_finite"]}).endpoint) as client:
        stream = open_stream(replay, client)
        run(replay, stream, loops(5))
        (report,) = stream.close(timeout_s=60)
    assert (report.sent, report.answered, report.refused) == (5, 4, 1)
    assert not report.is_complete


def test_while_the_spool_is_full_frames_wait_in_memory(replay, peer, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "_RETRY_S", 0.01)
    keep, refusals, seen = Spool.keep, iter(range(5)), Seen()

    def full(spool, frame):
        if next(refusals, None) is not None:
            raise SpoolFull("the spool is full")
        return keep(spool, frame)

    monkeypatch.setattr(Spool, "keep", full)
    with Client(peer().endpoint) as client:
        stream = open_stream(replay, client, on_result=seen, spool=tmp_path)
        run(replay, stream, loops(6))
        (report,) = stream.close(timeout_s=60)
    assert report.is_complete
    assert seen.corners == list(range(6))
    assert [one for one in report.problems if "the spool is full" in one] == report.problems[:1]


def test_when_the_server_has_forgotten_the_stream_the_next_frames_have_another(replay, peer, eventually):
    server, seen = peer(), Seen()
    with Client(server.endpoint, timeout_s=0.3) as client:
        stream = open_stream(replay, client, on_result=seen)

        def forget(image, event, meta):
            if event.index["t"] == 5:
                eventually(lambda: len(seen.results) == 6)
                server.leave()
                server.forget()
                server.away.clear()
            if event.index["t"] == 6:
                eventually(lambda: any("is over" in one for one in stream.reports[0].problems))

        stream.connect()
        replay.mda.events.frameReady.connect(forget)
        run(replay, stream, iter(list(loops(12))))
        (report,) = stream.close(timeout_s=60)
    assert len(report.streams) == 2
    assert seen.corners[:6] == list(range(6))
    assert seen.corners[-5:] == list(range(7, 12))
    assert report.seen == 12
    assert report.is_complete is (len(seen.corners) == 12)


def test_closing_twice_is_closing_once_and_no_thread_is_left(replay, peer, eventually):
    with Client(peer().endpoint) as client:
        stream = open_stream(replay, client)
        run(replay, stream, loops(2))
        assert stream.close(timeout_s=60)[0].is_complete
        assert stream.close(timeout_s=60)[0].is_complete
        names = {"dimstream-sender", "dimstream-results"}
        eventually(lambda: not names & {one.name for one in threading.enumerate()})
