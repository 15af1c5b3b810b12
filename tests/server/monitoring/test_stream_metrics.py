"""Figures of single streams: what is counted, and that their number is bounded."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dimstream_client.quality import Forecast, QualityMetrics, Times
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.engine.resume_state import PlaneRecord
from dimstream_server.monitoring.stream_metrics import OTHER, StreamTable


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def result(**fields: Any) -> EngineResult:
    values: dict[str, Any] = {
        "seq": 0,
        "status": "done",
        "flag": "ok",
        "reason": None,
        "ssim_prev": None,
        "compared_seq": None,
        "fractions": None,
        "pixels": None,
        "model_id": "m",
        "model_sha256": "0",
        "quality": None,
        "t_ms": Times(0.0, 0.0, 30.0),
    }
    return EngineResult(**{**values, **fields})


def scraped(table: StreamTable) -> dict[tuple[str, ...], float]:
    """Name and label values of each sample, as a Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(table)
    text = generate_latest(registry).decode()
    return {
        (
            sample.name.removeprefix("dimstream_stream_"),
            *(sample.labels[label] for label in ("stream", "client", "flag", "le") if label in sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_fate_of_a_frame_has_its_counter(clock: Clock) -> None:
    table = StreamTable(clock=clock)
    one = table.open("s1", "scope", lambda: 3)
    for seq in range(4):
        one.received(seq)
    one.answered(result(t_ms=Times(0.0, 0.0, 30.0)))
    one.answered(result(t_ms=Times(0.0, 0.0, 300.0), flag="suspect"))
    one.answered(result(t_ms=Times(0.0, 0.0, 99_000.0), status="failed", flag="unjudged"))
    table.of("s1").skipped(5)
    table.of("s1").resent(2)
    table.of("s1").reconnected()
    for is_suspect in (True, False, True):
        table.of("s1").turned(is_suspect=is_suspect)
    found = scraped(table)
    at = ("s1", "scope")
    expected = {"received": 4, "denoised": 2, "failed": 1, "skipped": 5, "resent": 2}
    assert {name: found[f"frames_{name}_total", *at] for name in expected} == expected
    assert found["reconnects_total", *at] == 1
    assert (found["turned_suspect_total", *at], found["suspect", *at]) == (2, 1)
    assert {flag: found["flags_total", *at, flag] for flag in ("ok", "suspect", "unjudged")} == {
        "ok": 1,
        "suspect": 1,
        "unjudged": 1,
    }
    assert (found["queue_frames", *at], found["open", *at]) == (3, 1)
    assert found["last_frame_timestamp_seconds", *at] > 1.7e9
    buckets = {bound: found["frame_seconds_bucket", *at, bound] for bound in ("0.025", "0.05", "0.5", "+Inf")}
    assert buckets == {"0.025": 0, "0.05": 1, "0.5": 2, "+Inf": 3}
    assert found["frame_seconds_count", *at] == 3
    assert found["frame_seconds_sum", *at] == pytest.approx(99.33)


def test_a_closed_stream_is_shown_for_a_while_and_then_no_more(clock: Clock) -> None:
    table = StreamTable(clock=clock, keep_s=60)
    table.open("s1", "scope", lambda: 1).received(0)
    table.close("s1")
    clock.now += 59
    found = scraped(table)
    assert found["open", "s1", "scope"] == 0
    assert ("queue_frames", "s1", "scope") not in found
    clock.now += 2
    assert scraped(table) == {}


def test_a_resumed_stream_goes_on_counting(clock: Clock) -> None:
    table = StreamTable(clock=clock, keep_s=60)
    one = table.open("s1", "scope", lambda: 0)
    for seq in range(3):
        one.received(seq)
    table.close("s1")
    clock.now += 30
    again = table.open("s1", "scope", lambda: 0)
    again.resent()  # frame 0, to be compared with
    again.received(1)
    again.received(2)
    again.received(3)
    again.reconnected()
    clock.now += 3600
    found = scraped(table)
    assert found["frames_received_total", "s1", "scope"] == 6
    assert found["frames_resent_total", "s1", "scope"] == 3
    assert found["reconnects_total", "s1", "scope"] == 1
    assert found["open", "s1", "scope"] == 1


def test_ten_thousand_streams_are_no_more_series_than_a_few(clock: Clock) -> None:
    table = StreamTable(clock=clock, most=8)
    for number in range(10_000):
        table.open(f"s{number}", "flood", lambda: 0).received(0)
    found = scraped(table)
    received = {key[1]: value for key, value in found.items() if key[0] == "frames_received_total"}
    assert len(received) == 9
    assert received[OTHER] == 10_000 - 8
    assert sum(received.values()) == 10_000


def test_who_ended_first_makes_room(clock: Clock) -> None:
    table = StreamTable(clock=clock, most=2)
    for number in range(2):
        table.open(f"s{number}", "c", lambda: 0)
        clock.now += 1
        table.close(f"s{number}")
    table.open("s2", "c", lambda: 0).received(0)
    shown = {key[1] for key in scraped(table)}
    assert shown == {"s1", "s2"}


def test_a_client_may_call_itself_anything(clock: Clock) -> None:
    table = StreamTable(clock=clock)
    table.open("s1", 'a"b\\c\nd' + "x" * 1000, lambda: 0).received(0)
    ((_, _, client),) = [key for key in scraped(table) if key[0] == "frames_received_total"]
    assert client == ('a"b\\c\nd' + "x" * 1000)[:64]


def foreseen(z: int, frames: float | None) -> EngineResult:
    forecast = None if frames is None else Forecast(frames=frames, earliest=1.0)
    quality = QualityMetrics(structure_score=9.0, unsupported_fraction=0.0, forecast=forecast)
    plane = PlaneRecord(plane=(0, z, 0), seq=0, t=0, model_sha256="0", predicted=True, judge={})
    return result(quality=quality, plane=plane)


def test_the_first_plane_that_will_be_suspect_is_told_while_one_declines(clock: Clock) -> None:
    table = StreamTable(clock=clock)
    figures = table.open("s", "c", lambda: 0)
    left = ("frames_left", "s", "c")
    assert left not in scraped(table)
    for z, frames in ((0, 40.0), (1, 12.5), (2, None)):
        figures.answered(foreseen(z, frames))
    assert scraped(table)[left] == 12.5
    figures.answered(foreseen(1, None))  # suspect, or well again
    assert scraped(table)[left] == 40
    table.requests.answered(foreseen(0, 3.0))  # of all requests together it would say nothing
    assert len([name for name, *_ in scraped(table) if name == "frames_left"]) == 1
    table.close("s")
    assert left not in scraped(table)
