"""Rules change a run that goes on: the next event, a pause, its end; and only in the mode act."""

import json
import queue

import numpy as np
import pytest

from dimstream_client import Client
from dimstream_client.feedback import (
    Advisor,
    Change,
    DecisionLog,
    FeedbackLoop,
    Limits,
    LowDose,
    Pause,
    Rule,
    Stop,
    Suspect,
)
from dimstream_client.micromanager import EventFeed, MdaDriver, MdaStream, replay_core

pytest.importorskip("pymmcore_plus")
useq = pytest.importorskip("useq")

LIMITS = Limits(20, {"exposure_ms": (1.0, 6.0), "Camera/Gain": (-5.0, 8.0), "Camera/StripeWidth": (0.0, 9.0)})


def every(interval_s, loops, **more):
    return useq.MDASequence(time_plan={"interval": interval_s, "loops": loops}, **more)


def dark_core(exposure_ms=1.0):
    """A movie of 1 photon per pixel at 1 ms."""
    return replay_core(np.ones((3, 24, 32), np.uint16), exposure_ms=exposure_ms)


class Loop:
    """Rules, a driver and a log for the run of one core."""

    def __init__(self, core, *rules, mode="act", log=None):
        self.driver = MdaDriver(core)
        self.decisions = []
        self.loop = FeedbackLoop(
            Advisor(rules, mode=mode, limits=LIMITS),
            driver=self.driver,
            log=log,
            on_decision=self.decisions.append,
        )


def run(core, client, loop, events):
    """Run events from a feed with feedback; return exposures as the frames had them, and the report."""
    exposures = []
    stream = MdaStream(core, client, feedback=loop.loop)
    stream.connect()
    core.mda.events.frameReady.connect(lambda image, event, meta: exposures.append(meta["exposure_ms"]))
    loop.driver.feed = stream.feed(events)
    core.run_mda(loop.driver.feed, block=True)
    (report,) = stream.close(timeout_s=60)
    return exposures, report


LONGER = Rule("dark", LowDose(4.0, 2), Change("exposure_ms", factor=2), wait_frames=0)


def test_the_exposure_is_raised_until_the_dose_is_right(peer, tmp_path):
    core = dark_core()
    with DecisionLog(tmp_path / "decisions.jsonl") as log, Client(peer().endpoint) as client:
        loop = Loop(core, LONGER, log=log)
        exposures, report = run(core, client, loop, every(0.05, 30))
    assert report.is_complete
    assert report.seen == 30
    assert exposures == sorted(exposures)
    assert set(exposures) == {1.0, 2.0, 4.0}
    done = [(one.old, one.new, one.outcome) for one in loop.decisions]
    assert done == [(1.0, 2.0, "done"), (2.0, 4.0, "done")]
    lines = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    assert [line["new"] for line in lines] == [2.0, 4.0]
    assert "1 photons per pixel, expected at least 4 (2 frames in a row)" in lines[0]["reason"]


def test_it_stops_at_its_limit(peer):
    core = dark_core()
    loop = Loop(core, Rule("dark", LowDose(99, 1), Change("exposure_ms", factor=3), wait_frames=0))
    with Client(peer().endpoint) as client:
        exposures, _ = run(core, client, loop, every(0.05, 30))
    assert sorted(set(exposures)) == [1.0, 3.0, 6.0]
    assert {one.outcome for one in loop.decisions[2:]} == {"refused"}
    assert "is at its limit" in loop.decisions[2].detail


@pytest.mark.parametrize(("mode", "outcome"), [("advise", "advised"), ("rehearse", "rehearsed")])
def test_nothing_is_touched_in_the_other_modes(peer, mode, outcome):
    core = dark_core()
    rules = [LONGER, Rule("end", LowDose(4.0, 3), Stop()), Rule("pause", LowDose(4.0, 3), Pause())]
    loop = Loop(core, *rules, mode=mode)
    with Client(peer().endpoint) as client:
        exposures, report = run(core, client, loop, every(0.02, 12))
    assert exposures == [1.0] * 12
    assert report.end == "finished"
    assert {one.outcome for one in loop.decisions} <= {outcome, "refused"}
    assert {one.action for one in loop.decisions if one.outcome == outcome} == {"change", "stop", "pause"}


def test_a_run_whose_frames_turn_suspect_is_ended(peer):
    core = dark_core()
    server = peer(suspect=range(4, 100))
    loop = Loop(core, Rule("end", Suspect(3), Stop()))
    with Client(server.endpoint) as client:
        _, report = run(core, client, loop, every(0.05, 100))
    (decision,) = loop.decisions
    assert (decision.action, decision.outcome, decision.seq) == ("stop", "done", 6)
    assert report.end == "canceled"
    assert 7 <= report.seen < 100
    assert report.is_complete


def test_a_run_is_paused_and_a_person_lets_it_go_on(peer, eventually):
    core = dark_core()
    loop = Loop(core, Rule("pause", Suspect(2), Pause(), wait_frames=1000))
    with Client(peer(suspect=range(3, 100)).endpoint) as client:
        stream = MdaStream(core, client, feedback=loop.loop)
        stream.connect()
        loop.driver.feed = stream.feed(every(0.05, 20))
        thread = core.run_mda(loop.driver.feed)
        eventually(core.mda.is_paused)
        seen = stream.reports[0].seen
        assert seen < 20
        core.mda.set_paused(False)
        thread.join()
        (report,) = stream.close(timeout_s=60)
    assert (report.seen, report.end, report.is_complete) == (20, "finished", True)


def test_each_channel_keeps_its_own_exposure(demo_core, peer):
    plan = every(0.05, 6, channels=[{"config": "DAPI", "exposure": 1.0}, {"config": "FITC", "exposure": 2.0}])
    got = []
    with Client(peer().endpoint) as client, MdaStream(demo_core, client) as stream:
        feed = stream.feed(plan)
        feed.change("exposure_ms", 5.0, channel=1)
        demo_core.mda.events.frameReady.connect(
            lambda image, event, meta: got.append((event.channel.config, meta["exposure_ms"]))
        )
        demo_core.run_mda(feed, block=True)
    assert got == [("DAPI", 1.0), ("FITC", 5.0)] * 6


def test_a_property_is_set_for_the_events_to_come(demo_core, peer):
    rule = Rule("dark", LowDose(1e6, 1), Change("Camera/Gain", step=3.0), wait_frames=0)
    loop = Loop(demo_core, rule)
    gains = []
    with Client(peer().endpoint) as client:
        stream = MdaStream(demo_core, client, feedback=loop.loop)
        demo_core.mda.events.frameReady.connect(
            lambda *_: gains.append(float(demo_core.getPropertyFromCache("Camera", "Gain")))
        )
        stream.connect()
        loop.driver.feed = stream.feed(every(0.05, 20))
        demo_core.run_mda(loop.driver.feed, block=True)
        stream.close(timeout_s=60)
    assert sorted(set(gains)) == [0.0, 3.0, 6.0, 8.0]
    assert [one.new for one in loop.decisions if one.outcome == "done"] == [3.0, 6.0, 8.0]


CHECKS = {
    "no such device": ("Laser/Power", 1.0, "no such device"),
    "no such property": ("Camera/Power", 1.0, "no such property"),
    "read-only": ("Camera/CCDTemperature RO", 1.0, "cannot be set"),
    "not a number": ("Camera/PixelType", 1.0, "expected a number"),
    "beyond the device": ("Camera/Gain", 9.0, "expected -5 to 8, got 9"),
    "no exposure": ("exposure_ms", 0.0, "above 0 ms"),
}


@pytest.mark.parametrize("name", CHECKS)
def test_what_the_devices_do_not_take_is_refused_before_anything_is_touched(demo_core, name):
    from dimstream_client.feedback import ActionRefused, Decision
    from dimstream_client.messages import PlaneIndex

    what, value, words = CHECKS[name]
    decision = Decision(
        0.0, "act", "r", 0, PlaneIndex(), "change", "why", "due", what=what, old=1.0, new=value
    )
    driver = MdaDriver(demo_core, EventFeed(demo_core, [], lead_s=0))
    with pytest.raises(ActionRefused, match="no acquisition is running"):
        driver.check(decision)
    refused = []

    def check(*_):
        try:
            driver.check(decision)
        except ActionRefused as refusal:
            refused.append(str(refusal))

    demo_core.mda.events.frameReady.connect(check)
    demo_core.run_mda(every(0, 1), block=True)
    assert words in refused[0]


def test_without_a_feed_changes_are_refused_and_pauses_are_not(peer):
    core = dark_core()
    loop = Loop(core, LONGER)
    with Client(peer().endpoint) as client:
        stream = MdaStream(core, client, feedback=loop.loop)
        stream.connect()
        core.run_mda(every(0.05, 10), block=True)
        stream.close(timeout_s=60)
    assert {one.outcome for one in loop.decisions} <= {"refused"}
    assert all("do not come from a feed" in one.detail or "no acq" in one.detail for one in loop.decisions)


# --- the feed


def test_a_plan_is_run_event_by_event_and_its_gaps_are_known(demo_core, peer):
    """A sequence would be merged for the hardware, and could not be changed any more."""
    plan = every(0, 5, channels=["DAPI", "FITC"])
    started, server = [], peer()
    demo_core.mda.events.eventStarted.connect(lambda event: started.append(type(event).__name__))
    with Client(server.endpoint) as client:
        stream = MdaStream(demo_core, client)
        stream.connect()
        demo_core.run_mda(stream.feed(plan), block=True)
        (report,) = stream.close(timeout_s=60)
    assert started == ["MDAEvent"] * 10
    assert report.is_complete
    assert server.opened[0].channels == ("DAPI", "FITC")
    assert server.opened[0].axes == "TCYX"


def test_a_feed_that_was_never_run_is_not_taken_for_the_plan_of_another_run(demo_core, peer):
    with Client(peer().endpoint) as client:
        stream = MdaStream(demo_core, client)
        stream.connect()
        stream.feed(every(0, 99))
        demo_core.run_mda(every(0.01, 3), block=True)
        (report,) = stream.close(timeout_s=60)
    assert (report.seen, report.missing, report.is_complete) == (3, 0, True)


def test_frames_that_the_hardware_triggers_have_the_planned_position(demo_core, peer):
    demo_core.mda.engine.use_hardware_sequencing = True
    server = peer()
    with Client(server.endpoint) as client:
        stream = MdaStream(demo_core, client)
        stream.connect()
        plan = every(0, 3, stage_positions=[(1, 2, 3)], axis_order="ptcz")
        demo_core.run_mda(plan, block=True)
        stream.close(timeout_s=60)
    meta = [message.meta for message in server.log if message.TYPE == "FRAME"][-1]
    assert meta["hardware_triggered"]
    assert meta["planned_position_um"] == {"x": 1.0, "y": 2.0, "z": 3.0}


def test_an_event_can_be_changed_until_shortly_before_its_time(demo_core, peer, eventually):
    exposures = []
    with Client(peer().endpoint) as client, MdaStream(demo_core, client) as stream:
        feed = stream.feed(every(1.0, 2))
        demo_core.mda.events.frameReady.connect(
            lambda image, event, meta: exposures.append(meta["exposure_ms"])
        )
        thread = demo_core.run_mda(feed)
        eventually(lambda: exposures)
        feed.change("exposure_ms", 3.0, channel=0)
        assert feed.handed_out == 1
        thread.join()
    assert exposures == [1.0, 3.0]


@pytest.mark.parametrize("kind", ["plan", "queue"])
def test_a_run_that_is_canceled_while_it_waits_for_an_event_ends_as_canceled(demo_core, eventually, kind):
    """While an iterator blocks, pymmcore-plus's thread hangs, and then ends as completed."""
    events = queue.Queue()
    events.put(useq.MDAEvent(index={"t": 0}))
    feed = EventFeed(demo_core, every(3600, 2) if kind == "plan" else events, lead_s=0.05)
    frames = []
    demo_core.mda.events.frameReady.connect(lambda *_: frames.append(1))
    thread = demo_core.run_mda(feed)
    eventually(lambda: frames and str(demo_core.mda.status.phase) == "waiting")
    demo_core.mda.cancel()
    thread.join(60)
    assert not thread.is_alive()
    assert str(demo_core.mda.status.finish_reason) == "canceled"
    assert len(frames) == 1


def test_a_queue_gets_events_while_the_run_goes_on_and_none_ends_it(demo_core):
    events, frames = queue.Queue(), []
    feed = EventFeed(demo_core, events, lead_s=0.05)

    def react(image, event, meta):
        frames.append(event.index["t"])
        events.put(useq.MDAEvent(index={"t": len(frames)}) if len(frames) < 5 else None)

    demo_core.mda.events.frameReady.connect(react)
    events.put(useq.MDAEvent(index={"t": 0}))
    demo_core.run_mda(feed, block=True)
    assert frames == [0, 1, 2, 3, 4]
    assert str(demo_core.mda.status.finish_reason) == "completed"


def test_a_run_that_is_canceled_before_its_first_event_ends(demo_core, eventually):
    thread = demo_core.run_mda(EventFeed(demo_core, queue.Queue(), lead_s=0.05))
    eventually(lambda: str(demo_core.mda.status.phase) == "waiting")
    demo_core.mda.cancel()
    thread.join(60)
    assert not thread.is_alive()


def test_a_pause_moves_the_events_behind_it(demo_core, eventually):
    """As without a feed: an hour's pause is not caught up by an hour's frames at once."""
    times = []
    feed = EventFeed(demo_core, every(0.3, 4), lead_s=0.05)
    demo_core.mda.events.frameReady.connect(lambda image, event, meta: times.append(meta["runner_time_ms"]))
    thread = demo_core.run_mda(feed)
    eventually(lambda: len(times) == 1)
    demo_core.mda.set_paused(True)
    eventually(demo_core.mda.is_paused)
    eventually(lambda: demo_core.mda.seconds_elapsed() > 2.0)
    demo_core.mda.set_paused(False)
    thread.join()
    assert len(times) == 4
    assert times[1] > 2000
    assert times[3] > 2500  # its time is 900 ms, and more than 1,600 ms were paused
