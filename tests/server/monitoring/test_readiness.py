"""Readiness: named checks, what speaks against a device, and a folder that is not well."""

import json
import logging
import os
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dimstream_client.quality import Times
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import DeviceReport, EngineResult
from dimstream_server.engine.stream_state import Gap
from dimstream_server.engine.thread_commands import Append
from dimstream_server.monitoring import disk_check
from dimstream_server.monitoring.device_health import FAILURES, FAILURES_COUNT_S, STALL_S, DeviceHealth
from dimstream_server.monitoring.disk_check import DiskCheck
from dimstream_server.monitoring.readiness import OK, Readiness


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Engine:
    """What of an engine is watched."""

    waiting = 0
    said: str | None = None
    served: tuple[str, ...] = ("er", "other")

    def models(self) -> tuple[str, ...]:
        return self.served

    def trouble(self) -> str | None:
        return self.said

    answered = 0

    def devices(self) -> list[DeviceReport]:
        return [DeviceReport("cpu", None, 1, self.waiting, self.answered)]


def result(model: str = "er", *, failed: bool = False) -> EngineResult:
    empty: dict[str, Any] = dict.fromkeys(
        ("reason", "ssim_prev", "compared_seq", "fractions", "quality", "pixels")
    )
    return EngineResult(
        seq=0,
        status="failed" if failed else "done",
        flag="ok",
        model_id=model,
        model_sha256="0",
        error="the prediction contains NaN" if failed else None,
        **empty,
        t_ms=Times(1.0, 1.0, 1.0),
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def health(engine: Engine, clock: Clock) -> DeviceHealth:
    return DeviceHealth(engine, clock)


def test_failures_in_a_row_speak_against_the_device_until_a_frame_succeeds(health: DeviceHealth) -> None:
    for _ in range(FAILURES - 1):
        health.answered(result(failed=True))
    assert health.check() is None
    health.answered(result("another"))  # another model's success does not count
    health.answered(result(failed=True))
    assert health.check() == f"model er failed on the last {FAILURES} frames: the prediction contains NaN"
    health.answered(result())
    assert health.check() is None


def test_failures_of_long_ago_are_forgotten_so_that_it_is_tried_again(
    health: DeviceHealth, clock: Clock
) -> None:
    for _ in range(FAILURES):
        health.answered(result(failed=True))
    clock.now += FAILURES_COUNT_S + 1
    assert health.check() is None


def test_a_model_that_was_unloaded_does_not_count(health: DeviceHealth, engine: Engine) -> None:
    for _ in range(FAILURES):
        health.answered(result(failed=True))
    assert health.check() is not None
    engine.served = ("other",)
    assert health.check() is None


def test_frames_that_do_not_move_are_a_stall_and_an_idle_hour_is_none(
    health: DeviceHealth, engine: Engine, clock: Clock
) -> None:
    assert health.check() is None
    clock.now += 3600
    engine.waiting = 2
    assert health.check() is None  # they may have come just now
    clock.now += STALL_S + 1
    assert (
        health.check()
        == f"2 frames are waiting and none was answered for {STALL_S + 1:.0f} s; restart the server"
    )
    engine.answered += 1
    assert health.check() is None


def test_a_device_whose_frames_do_not_move_is_named_though_others_go_on(clock: Clock) -> None:
    class Two(Engine):
        def devices(self) -> list[DeviceReport]:
            return [DeviceReport(f"cpu#{n}", None, 1, 3, self.answered * (n - 1)) for n in (1, 2)]

    engine = Two()
    health = DeviceHealth(engine, clock)
    assert health.check() is None
    clock.now += STALL_S
    engine.answered += 1
    said = f"3 frames are waiting for cpu#1 and none was answered for {STALL_S:.0f} s; restart the server"
    assert health.check() == said
    assert health.lost() is None


def test_an_engine_whose_thread_died_says_so(tiny_bundle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[Any] = []
    monkeypatch.setattr("threading.excepthook", died.append)
    engine = LocalEngine([tiny_bundle("blur")], threads=1)
    assert engine.trouble() is None
    engine._devices.threads[0].commands.put(Append("nobody's", Gap(0, 0)))
    engine._devices.threads[0]._thread.join(60)
    assert len(died) == 1
    assert DeviceHealth(engine).check() == engine.trouble()
    assert "the device thread died" in (engine.trouble() or "")


def test_a_report_names_every_check_and_logs_what_changed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    said: list[str | None] = [None]
    readiness = Readiness()
    readiness.add("journal", lambda: said[0])
    readiness.add("odd", lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    report = readiness.report()
    assert report["journal"] == OK
    assert report["odd"] == "the check itself failed (ZeroDivisionError); see the server's log"
    assert not readiness.is_ready(report)
    said[0] = "the disk is full"
    readiness.report()
    readiness.report()
    said[0] = None
    readiness.report()
    told = [record.getMessage() for record in caplog.records if "check=journal" in record.getMessage()]
    assert told == [
        "a check fails event=check_failed check=journal reason=the disk is full",
        "a check succeeds again event=check_well check=journal",
    ]
    with pytest.raises(ValueError, match="got 'journal'"):
        readiness.add("journal", lambda: None)


def test_checks_are_figures_too() -> None:
    readiness = Readiness()
    readiness.add("journal", lambda: "no")
    readiness.add("device", lambda: None)
    readiness.add("devices", lambda: "1 of 2 devices are lost", required=False)
    registry = CollectorRegistry()
    registry.register(readiness)
    assert registry.get_sample_value("dimstream_ready") == 0
    assert registry.get_sample_value("dimstream_check_ok", {"check": "journal"}) == 0
    assert registry.get_sample_value("dimstream_check_ok", {"check": "device"}) == 1
    assert registry.get_sample_value("dimstream_check_ok", {"check": "devices"}) == 0
    report = readiness.report()
    assert not readiness.is_ready(report)
    assert readiness.is_ready(report | {"journal": OK})  # what goes on with fewer devices is ready


def test_a_folder_is_well_while_it_is_there_writable_and_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(folder: Path, least_free_bytes: int = 1) -> str | None:
        with closing(DiskCheck(folder, least_free_bytes=least_free_bytes)) as watch:
            return watch.check()

    assert found(tmp_path) is None
    assert "cannot reach" in str(found(tmp_path / "none"))
    assert "bytes are free" in str(found(tmp_path, 2**62))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert "cannot write to" in str(found(tmp_path))


def test_a_disk_that_does_not_answer_stops_nobody_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = threading.Event(), threading.Event()
    statvfs = os.statvfs

    def waits(folder: Path) -> os.statvfs_result:
        if threading.current_thread() is not threading.main_thread():
            asked.set()
            assert answers.wait(60)
        return statvfs(folder)

    monkeypatch.setattr(os, "statvfs", waits)
    monkeypatch.setattr(disk_check, "SILENT_S", 0.0)
    with closing(DiskCheck(tmp_path)) as watch:
        assert asked.wait(60)
        assert "has not answered" in str(watch.check())
        assert watch.free_bytes() > 0
        answers.set()


def test_the_report_can_travel(health: DeviceHealth) -> None:
    readiness = Readiness()
    readiness.add("device", health.check)
    assert json.loads(json.dumps(readiness.report())) == {"device": "ok"}
