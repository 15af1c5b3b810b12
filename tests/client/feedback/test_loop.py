"""Decisions are written down with what became of them, and nothing is raised into an acquisition."""

import dataclasses
import json

import pytest

from dimstream_client.errors import ArgumentError
from dimstream_client.feedback import (
    ActionRefused,
    Advisor,
    Change,
    DecisionLog,
    FeedbackLoop,
    Limits,
    LowDose,
    Observation,
    Pause,
    Rule,
    observation_of,
)
from dimstream_client.messages import PlaneIndex
from dimstream_client.quality import Forecast, FrameResult, QualityMetrics, Times

LIMITS = Limits(9, {"exposure_ms": (1.0, 100.0)})
FRAME = Observation(0, t_acq=0.0, flag="ok", mean_photons=0.1, settings={"exposure_ms": 10.0})
RULE = Rule("dark", LowDose(0.3, 1), Change("exposure_ms", factor=2), wait_frames=0)


class Recorder:
    """A driver that does nothing but say what it was asked."""

    def __init__(self, *, refuses=None, fails=None):
        self.asked = []
        self._refuses, self._fails = refuses, fails

    def check(self, decision):
        self.asked.append(("check", decision.new))
        if self._refuses:
            raise ActionRefused(self._refuses)

    def do(self, decision):
        self.asked.append(("do", decision.new))
        if self._fails:
            raise self._fails


WAYS = {
    # mode, driver; asked of the driver, outcome, words
    "advise": ("advise", Recorder(), [], "advised", ""),
    "rehearse": ("rehearse", Recorder(), [("check", 20.0)], "rehearsed", ""),
    "act": ("act", Recorder(), [("check", 20.0), ("do", 20.0)], "done", ""),
    "nobody to act": ("act", None, [], "refused", "expected a driver"),
    "refused": ("act", Recorder(refuses="no such device"), [("check", 20.0)], "refused", "no such device"),
    "rehearsal refused": (
        "rehearse",
        Recorder(refuses="read-only"),
        [("check", 20.0)],
        "refused",
        "read-only",
    ),
    "failed": (
        "act",
        Recorder(fails=OSError("unplugged")),
        [("check", 20.0), ("do", 20.0)],
        "failed",
        "unplugged",
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_what_becomes_of_a_decision_is_written_down(tmp_path, name):
    mode, driver, asked, outcome, words = WAYS[name]
    told = []
    log = DecisionLog(tmp_path / "decisions.jsonl")
    loop = FeedbackLoop(
        Advisor([RULE], mode=mode, limits=LIMITS),
        driver=driver,
        log=log,
        on_decision=told.append,
        clock=lambda: 1.5,
    )
    (decision,) = loop.observe(FRAME)
    log.close()
    assert (decision.outcome, told) == (outcome, [decision])
    assert words in decision.detail
    assert driver is None or driver.asked == asked
    (line,) = map(json.loads, (tmp_path / "decisions.jsonl").read_text().splitlines())
    assert line == {
        "time": "1970-01-01T00:00:01.500+00:00",
        "mode": mode,
        "rule": "dark",
        "seq": 0,
        "index": {"t": 0, "c": 0, "z": 0, "p": 0},
        "action": "change",
        "outcome": outcome,
        "reason": "0.1 photons per pixel, expected at least 0.3",
        "what": "exposure_ms",
        "old": 10.0,
        "new": 20.0,
        "detail": decision.detail,
    }


def test_what_was_not_done_is_asked_for_again():
    driver = Recorder(fails=OSError("unplugged"))
    loop = FeedbackLoop(Advisor([RULE], mode="act", limits=LIMITS), driver=driver, clock=lambda: 1.5)
    for _ in range(2):
        loop.observe(FRAME)
    assert driver.asked == [("check", 20.0), ("do", 20.0)] * 2


def test_lines_are_added_to_those_of_the_last_run(tmp_path):
    for _ in range(2):
        log = DecisionLog(tmp_path / "decisions.jsonl")
        FeedbackLoop(Advisor([Rule("dark", LowDose(0.3, 1), Pause())]), log=log).observe(FRAME)
        log.close()
    assert len((tmp_path / "decisions.jsonl").read_text().splitlines()) == 2


def test_a_log_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="cannot be written to"):
        DecisionLog(tmp_path)


def test_a_full_disk_or_a_fault_of_the_program_ends_nothing(tmp_path, caplog):
    log = DecisionLog("/dev/full")

    def fail(_):
        raise ValueError("a bug")

    with_log = FeedbackLoop(Advisor([RULE]), log=log)
    with_callback = FeedbackLoop(Advisor([RULE]), on_decision=fail)
    for loop in (with_log, with_callback):
        assert [one.outcome for one in loop.observe(FRAME)] == ["advised"]
    assert "No space left" in caplog.text
    assert "a bug" in caplog.text
    with pytest.raises(OSError, match="No space"):  # what is left in its buffer
        log.close()


def test_what_the_server_says_of_a_frame_is_what_rules_see():
    quality = QualityMetrics(
        structure_score=9.0,
        unsupported_fraction=0.0,
        shift_px=(3, -4),
        notes=("moved",),
        forecast=Forecast(frames=30.0, earliest=20.0, latest=None, minutes=1.5),
    )
    result = FrameResult(
        seq=4, status="done", flag="suspect", reason="ssim", ssim_prev=0.1, compared_seq=3, fractions=None,
        quality=quality, model_sha256="ab", t_ms=Times(0.0, 1.0, 1.0), device=None, fallback=None,
    )  # fmt: skip
    seen = observation_of(result, PlaneIndex(t=4, z=1), t_acq=2.0, mean_photons=0.5, settings={"A/B": 1.0})
    assert seen == Observation(
        4, PlaneIndex(t=4, z=1), 2.0, "suspect", "ssim", ("moved",), (3, -4), 0.5, 1.5, 30.0, {"A/B": 1.0}
    )
    failed = dataclasses.replace(result, status="failed", quality=None)
    assert (observation_of(failed, PlaneIndex()).flag, observation_of(failed, PlaneIndex()).notes) == (
        None,
        (),
    )
