"""Rules decide by frames alone: when, on what grounds, within which limits, and never twice for one cause."""

import dataclasses

import pytest

from dimstream_client.errors import ArgumentError
from dimstream_client.feedback import (
    Advisor,
    Change,
    Fading,
    Limits,
    LowDose,
    Moved,
    Note,
    Observation,
    Pause,
    Rule,
    Saturated,
    Stop,
    Suspect,
)
from dimstream_client.messages import PlaneIndex

LIMITS = Limits(5, {"exposure_ms": (5.0, 50.0), "Laser/Power": (0.5, 4.0)})
LONGER = Change("exposure_ms", factor=2.0)


def seen(seq, **more):
    more.setdefault("flag", "ok")
    more.setdefault("t_acq", float(seq))
    more.setdefault("index", PlaneIndex(t=seq))
    return Observation(seq, **more)


def decided(advisor, frames, *, now=None):
    return [one for frame in frames for one in advisor.observe(frame, now=frame.seq if now is None else now)]


def dark(seq, exposure_ms=10.0, **more):
    return seen(seq, mean_photons=0.1, settings={"exposure_ms": exposure_ms}, **more)


CONDITIONS = {
    # condition; a frame that meets it, one that does not, one that says nothing; words of the reason
    "suspect": (Suspect(1), {"flag": "suspect", "reason": "ssim"}, {}, {"flag": "unjudged"}, "suspect: ssim"),
    "low dose": (LowDose(0.3, 1), {"mean_photons": 0.2}, {"mean_photons": 0.3}, {}, "0.2 photons per pixel"),
    "fading by frames": (
        Fading(within_frames=20),
        {"frames_left": 12},
        {"frames_left": 21.0, "minutes_left": 1.0},
        {"flag": None},
        "in 12 frames by the forecast",
    ),
    "fading": (Fading(5), {"minutes_left": 4.5}, {"minutes_left": 5.1}, {"flag": None}, "4.5 min"),
    "saturated": (
        Saturated(),
        {"notes": ("moved", "saturated")},
        {"notes": ("moved",)},
        {"flag": None},
        "ceil",
    ),
    "moved": (Moved(5.0), {"shift_px": (3, -4)}, {"shift_px": (3, 3)}, {}, "moved by 5 px"),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_each_condition_is_found_and_says_what_it_found(name):
    condition, meets, meets_not, says_nothing, words = CONDITIONS[name]
    advisor = Advisor([Rule(name, condition, Note())])
    assert decided(advisor, [seen(0, **meets_not), seen(1, **says_nothing)]) == []
    (decision,) = decided(advisor, [seen(2, **meets)])
    assert (decision.rule, decision.seq, decision.action, decision.outcome) == (name, 2, "note", "noted")
    assert words in decision.reason


@pytest.mark.parametrize("name", CONDITIONS)
def test_only_frames_in_a_row_count_and_those_that_say_nothing_break_no_row(name):
    condition, meets, meets_not, says_nothing, _ = CONDITIONS[name]
    advisor = Advisor([Rule(name, dataclasses.replace(condition, frames=3), Note())])
    frames = [meets, meets, meets_not, meets, says_nothing, meets]
    assert decided(advisor, [seen(n, **one) for n, one in enumerate(frames)]) == []
    (decision,) = decided(advisor, [seen(6, **meets)])
    assert "(3 frames in a row)" in decision.reason


def test_each_plane_has_its_own_row():
    advisor = Advisor([Rule("s", Suspect(3), Note())])
    frames = [seen(n, index=PlaneIndex(t=n // 2, z=n % 2), flag="suspect") for n in range(6)]
    assert [one.seq for one in decided(advisor, frames)] == [4, 5]


def test_a_rule_that_has_spoken_waits():
    advisor = Advisor([Rule("s", Suspect(2), Note(), wait_frames=3)])
    spoken = decided(advisor, [seen(n, flag="suspect") for n in range(12)])
    assert [one.seq for one in spoken] == [1, 6, 11]


MODES = {"advise": "advised", "rehearse": "rehearsed", "act": "due"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("action", [Pause(), Stop(), LONGER], ids=lambda one: one.KIND)
def test_what_is_done_depends_on_the_mode_alone(mode, action):
    advisor = Advisor([Rule("dark", LowDose(0.3, 1), action)], mode=mode, limits=LIMITS)
    (decision,) = decided(advisor, [dark(0)])
    assert (decision.outcome, decision.mode, decision.action) == (MODES[mode], mode, action.KIND)
    if action is LONGER:
        assert (decision.what, decision.old, decision.new) == ("exposure_ms", 10.0, 20.0)


def test_advice_is_the_default():
    assert Advisor([Rule("dark", LowDose(0.3), Stop())]).mode == "advise"


REFUSED = {
    "no such mode": ({"mode": "perform"}, "expected a mode"),
    "no limits": ({"mode": "act"}, "needs limits"),
    "no range": ({"mode": "act", "limits": Limits(3)}, "exposure_ms: the mode act needs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_acting_without_limits_is_refused(name):
    settings, words = REFUSED[name]
    with pytest.raises(ArgumentError, match=words):
        Advisor([Rule("dark", LowDose(0.3), LONGER)], **settings)


def test_rules_of_one_name_are_refused():
    with pytest.raises(ArgumentError, match="'a' twice"):
        Advisor([Rule("a", Suspect(), Note()), Rule("a", Moved(), Note())])


STEPS = {
    "within": (Change("exposure_ms", factor=1.5), 10.0, 15.0, "due", ""),
    "clipped above": (Change("exposure_ms", factor=9), 10.0, 50.0, "due", "90 was wanted"),
    "clipped below": (Change("exposure_ms", step=-9), 10.0, 5.0, "due", "1 was wanted"),
    "at the limit": (Change("exposure_ms", factor=2), 50.0, 50.0, "refused", "at its limit"),
    "factor, then step": (Change("exposure_ms", factor=2, step=-3), 10.0, 17.0, "due", ""),
    "beyond the limit": (Change("exposure_ms", factor=2), 80.0, 50.0, "due", "160 was wanted"),
    "not known": (Change("Laser/Power", factor=2), 10.0, None, "refused", "is not known"),
}


@pytest.mark.parametrize("name", STEPS)
def test_changes_stay_within_their_limits(name):
    change, now, new, outcome, words = STEPS[name]
    advisor = Advisor([Rule("dark", LowDose(0.3, 1), change)], mode="act", limits=LIMITS)
    (decision,) = decided(advisor, [dark(0, exposure_ms=now)])
    assert (decision.new, decision.outcome) == (new, outcome)
    assert words in decision.detail


def acting(*rules, limits=LIMITS):
    return Advisor(rules, mode="act", limits=limits)


def do(advisor, decision, time):
    advisor.did(dataclasses.replace(decision, outcome="done", time=time))


def test_frames_from_before_a_change_ask_for_no_other():
    """As when the server was away and a hundred frames wait that had the old exposure."""
    advisor = acting(Rule("dark", LowDose(0.3, 1), LONGER, wait_frames=0))
    (decision,) = decided(advisor, [dark(0)])
    do(advisor, decision, time=100.0)
    assert decided(advisor, [dark(n, t_acq=float(n)) for n in range(1, 100)]) == []
    late = [dark(101, t_acq=100.5), dark(102, t_acq=101.0)]  # their events had been handed out before
    assert decided(advisor, late) == []
    (again,) = decided(advisor, [dark(103, t_acq=102.0, exposure_ms=20.2)])  # as the camera rounds it
    assert again.new == pytest.approx(40.4)


def test_a_change_that_does_not_come_into_force_is_told_once():
    advisor = acting(Rule("dark", LowDose(0.3, 1), LONGER, wait_frames=0))
    (decision,) = decided(advisor, [dark(0)])
    do(advisor, decision, time=0.5)
    told, refused = decided(advisor, [dark(n) for n in range(1, 5)])
    assert (told.outcome, told.old, told.new) == ("failed", 10.0, 20.0)
    assert "have 10" in told.reason
    assert (refused.outcome, refused.new) == ("refused", None)
    assert "did not take an earlier change" in refused.detail


def test_each_channel_has_an_exposure_of_its_own():
    advisor = acting(Rule("dark", LowDose(0.3, 1), LONGER, wait_frames=0))
    (decision,) = decided(advisor, [dark(0, index=PlaneIndex(c=0))])
    do(advisor, decision, time=0.5)
    frames = [dark(1, index=PlaneIndex(c=1)), dark(2, exposure_ms=20.0, index=PlaneIndex(t=1))]
    assert [(one.index.c, one.old) for one in decided(advisor, frames)] == [(1, 10.0), (0, 20.0)]


def test_no_more_actions_than_allowed_are_done_in_a_run():
    advisor = acting(Rule("dark", LowDose(0.3, 1), Pause(), wait_frames=0), limits=Limits(2))
    outcomes = [one.outcome for one in decided(advisor, [dark(n) for n in range(4)])]
    assert outcomes == ["due", "due", "refused", "refused"]
    advisor.begin_run()
    assert [one.outcome for one in decided(advisor, [dark(0)])] == ["due"]


def test_notes_are_no_actions():
    advisor = acting(Rule("dark", LowDose(0.3, 1), Note(), wait_frames=0), limits=Limits(0))
    assert [one.outcome for one in decided(advisor, [dark(n) for n in range(3)])] == ["noted"] * 3


def test_after_a_stop_nothing_more_is_decided():
    advisor = acting(
        Rule("dark", LowDose(0.3, 1), Stop(), wait_frames=0),
        Rule("darker", LowDose(0.2, 1), Pause(), wait_frames=0),
    )
    (decision,) = decided(advisor, [dark(0)])
    do(advisor, decision, time=0.5)
    assert decided(advisor, [dark(n) for n in range(1, 20)]) == []
