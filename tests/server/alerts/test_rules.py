"""What counts as wrong with a stream, at the limits of the settings."""

from typing import Any

import pytest

from dimstream_client.quality import Forecast, QualityMetrics, Times
from dimstream_models.judging import FlagName
from dimstream_server.alerts.rules import StreamRules, StreamSigns
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.settings import AlertsTable

ON: dict[str, Any] = {"silent_s": 10, "silent_intervals": 3, "suspect_frames": 4, "forecast": True}


def result(seq: int, flag: FlagName = "ok", minutes: float | None = None) -> EngineResult:
    forecast = None if minutes is None else Forecast(frames=9, earliest=5, minutes=minutes)
    return EngineResult(
        seq=seq, status="done", flag=flag, reason="no structure" if flag == "suspect" else None,
        ssim_prev=None, compared_seq=None, fractions=None, model_sha256="ab", t_ms=Times(0, 0, 0),
        quality=QualityMetrics(structure_score=9, unsupported_fraction=0, forecast=forecast),
        pixels=None, model_id="er",
    )  # fmt: skip


class Watched:
    """A stream that sends a frame a second, and what the rules say of it."""

    def __init__(self, **settings: Any) -> None:
        self.rules = StreamRules(AlertsTable(**{**ON, **settings}))
        self.now = 0.0
        self.signs: StreamSigns = self.rules.signs_of("s1", "sted", self.now)
        self.seq = -1

    def frame(
        self, flag: FlagName = "ok", *, z: int = 0, dropped: int = 0, minutes: float | None = None
    ) -> None:
        self.now += 1
        self.seq += 1
        self.signs.answered((0, z, 0), result(self.seq, flag, minutes), dropped=dropped, now=self.now)

    def wrong(self, **state: Any) -> dict[str, str]:
        whole: dict[str, Any] = {"is_open": True, "in_flight": 0, **state}
        return {one.rule: one.text for one in self.rules.findings(self.signs, now=self.now, **whole)}


def test_nothing_is_wrong_with_a_stream_that_goes_on() -> None:
    stream = Watched()
    for _ in range(100):
        stream.frame()
        assert stream.wrong() == {}


def test_frames_have_stopped_after_the_longer_of_both_limits() -> None:
    stream = Watched(silent_s=10)
    stream.frame()
    stream.frame()
    stream.now += 9.9
    assert stream.wrong() == {}
    stream.now += 0.2
    assert stream.wrong() == {
        "frames_stop": "stream s1 of sted: no frame for 10 s after frame 1; before, one came each 1 s"
    }
    slow = Watched(silent_s=10, silent_intervals=40)
    slow.frame()
    slow.frame()
    slow.now += 39
    assert slow.wrong() == {}
    slow.now += 2
    assert "frames_stop" in slow.wrong()


def test_frames_that_wait_for_the_device_have_not_stopped() -> None:
    stream = Watched()
    stream.frame()
    stream.now += 1000
    assert stream.wrong(in_flight=3) == {}


def test_a_connection_that_is_lost_is_said_so() -> None:
    stream = Watched()
    stream.frame()
    stream.now += 20
    (text,) = stream.wrong(is_open=False).values()
    assert text == "stream s1 of sted: no frame for 20 s after frame 0; its client's connection was lost"


def test_drops_are_one_alert_until_there_was_none_for_a_while() -> None:
    stream = Watched(settle_s=5, dropped_frames=2)
    stream.frame(dropped=1)
    assert stream.wrong() == {}
    stream.frame(dropped=3)
    assert "3 frames were skipped or failed" in stream.wrong()["frames_dropped"]
    for _ in range(4):
        stream.frame(dropped=3)
        assert "frames_dropped" in stream.wrong()
    stream.frame(dropped=3)
    assert stream.wrong() == {}
    stream.frame(dropped=5)
    assert "2 frames were" in stream.wrong()["frames_dropped"]


def test_a_recording_that_stopped() -> None:
    stream = Watched()
    stream.frame()
    stream.signs.recording = "the disk is full"
    (text,) = stream.wrong().values()
    assert text == "stream s1 of sted: not recorded any more: the disk is full"


def test_suspect_frames_in_a_row_and_as_many_good_ones() -> None:
    stream = Watched(suspect_frames=4)
    flags: list[FlagName] = [
        "suspect",
        "suspect",
        "suspect",
        "ok",
        "suspect",
        "suspect",
        "unjudged",
        "suspect",
    ]
    for flag in flags:
        stream.frame(flag)
        assert stream.wrong() == {}
    stream.frame("suspect")
    assert stream.wrong() == {"suspect": "stream s1 of sted: 4 frames in a row are suspect: no structure"}
    for _ in range(3):
        stream.frame()
        assert "suspect" in stream.wrong()
    stream.frame()
    assert stream.wrong() == {}


def test_the_dark_ends_of_a_stack_are_no_alert() -> None:
    stream = Watched(suspect_frames=2)
    for _ in range(10):
        for z in range(6):
            stream.frame("suspect" if z in (0, 5) else "ok", z=z)
        assert stream.wrong() == {}


def test_a_forecast_below_the_limit() -> None:
    stream = Watched(forecast_minutes=10)
    stream.frame(minutes=10.5)
    assert stream.wrong() == {}
    stream.frame(minutes=9.5)
    assert list(stream.wrong()) == ["forecast"]
    stream.frame()
    assert stream.wrong() == {}


def test_frames_that_come_again_change_nothing() -> None:
    stream = Watched(suspect_frames=2)
    for flag in ("ok", "suspect"):
        stream.frame(flag)  # type: ignore[arg-type]
    stream.signs.answered((0, 0, 0), result(1, "suspect"), dropped=0, now=stream.now)
    assert stream.wrong() == {}


@pytest.mark.parametrize("rule", ["frames_stop", "frames_dropped", "recording_stops", "suspect", "forecast"])
def test_each_rule_can_be_turned_off(rule: str) -> None:
    def all_wrong(**settings: Any) -> set[str]:
        stream = Watched(suspect_frames=100, **settings)
        stream.frame(dropped=1, minutes=1)
        stream.now += 30
        stream.signs.recording = "full"
        found = set(stream.wrong())
        suspect = Watched(suspect_frames=1, **settings)
        suspect.frame("suspect")
        return found | set(suspect.wrong())

    assert all_wrong() - all_wrong(**{rule: False}) == {rule}
