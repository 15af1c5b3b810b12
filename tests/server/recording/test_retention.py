"""What recordings take, and that none is deleted unless it was asked for, is complete and is old enough."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from frames import make_frame, make_recorder, make_spec

from dimstream_server.cli import main
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.monitoring.recording_metrics import RecordingMetrics
from dimstream_server.recording.retention import KEEP, Retention

DAY_S = 86_400.0
NOW = 1_800_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture
def record(folder: Path) -> Any:
    """`record(stream, finish=…)`: a real recording of two frames; its folder."""

    def make(stream: str, *, finish: bool = True, age_days: float = 0.0) -> Path:
        recorder = make_recorder(folder)
        recording = recorder.begin(make_spec(stream=stream))
        for seq in range(2):
            recording.offer(make_frame(seq))
        if finish:
            recording.finish().result(timeout=60)
        recorder.close()
        if finish:
            then = NOW - age_days * DAY_S
            os.utime(recording.folder / "SHA256SUMS", (then, then))
        return recording.folder

    return make


def retention(folder: Path, keep_days: float | None) -> Retention:
    return Retention(folder, keep_days=keep_days, clock=lambda: NOW)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_nothing_is_deleted_unless_an_age_was_set(folder: Path, record: Any) -> None:
    old, open_one = record("old", age_days=4000), record("open", finish=False)
    stored = retention(folder, None).look()
    assert (stored.complete, stored.unfinished, stored.deleted) == (1, 1, 0)
    assert (stored.complete_bytes, stored.unfinished_bytes) == (size_of(old), size_of(open_one))
    assert stored.oldest_finished_at == NOW - 4000 * DAY_S
    assert old.is_dir()


def test_only_what_is_complete_and_older_is_deleted(
    folder: Path, record: Any, caplog: pytest.LogCaptureFixture
) -> None:
    old, young = record("old", age_days=31), record("young", age_days=29)
    unfinished, kept = record("unfinished", finish=False), record("kept", age_days=31)
    (kept / KEEP).touch()
    notes = folder / "20200101T000000Z_notes"
    notes.mkdir()
    (notes / "SHA256SUMS").write_text("of somebody else\n")
    os.utime(notes / "SHA256SUMS", (0, 0))
    freed = size_of(old)
    with caplog.at_level(logging.INFO):
        stored = retention(folder, 30).look()
    assert not old.exists()
    assert all(path.is_dir() for path in (young, unfinished, kept, notes))
    assert (stored.deleted, stored.deleted_bytes, stored.complete, stored.unfinished) == (1, freed, 2, 1)
    told = [record.getMessage() for record in caplog.records if "event=recording_deleted" in record.message]
    assert len(told) == 1
    assert str(old) in told[0]


def test_what_a_server_writes_is_not_deleted_however_old_its_sums_look(folder: Path, record: Any) -> None:
    old = record("old", age_days=31)
    sums = (old / "SHA256SUMS").read_bytes()
    recorder = make_recorder(folder)
    recording = recorder.resume(make_spec(stream="old"))
    (old / "SHA256SUMS").write_bytes(sums)  # resuming took them away
    os.utime(old / "SHA256SUMS", (0, 0))
    stored = retention(folder, 30).look()
    assert (stored.deleted, stored.complete) == (0, 1)
    assert old.is_dir()
    recording.finish().result(timeout=60)
    recorder.close()


def test_links_are_neither_followed_nor_counted(folder: Path, record: Any, tmp_path: Path) -> None:
    old = record("old", age_days=31)
    elsewhere = tmp_path / "elsewhere"
    old.rename(elsewhere)
    old.symlink_to(elsewhere)
    other = record("other", age_days=31)
    (other / "link").symlink_to(elsewhere)
    stored = retention(folder, 30).look()
    assert (stored.deleted, stored.complete) == (1, 0)
    assert (elsewhere / "raw.ome.tif").is_file()
    assert old.is_symlink()


def test_a_deletion_that_was_interrupted_is_finished(folder: Path, record: Any) -> None:
    old = record("old", age_days=31)
    half = folder / f".deleted-{old.name}"
    old.rename(half)
    assert retention(folder, None).look().complete == 0
    assert half.is_dir()
    retention(folder, 30).look()
    assert not half.exists()


def test_figures_are_shown_once_the_folder_was_looked_at(folder: Path, record: Any) -> None:
    record("old", age_days=2)
    watch = retention(folder, None)
    metrics = Metrics()
    metrics.add(RecordingMetrics(watch))
    assert b"dimstream_recordings" not in metrics.exposition()
    watch.start()
    deadline = time.monotonic() + 60
    while watch.stored is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    watch.stop()
    text = metrics.exposition().decode()
    assert 'dimstream_recordings{state="complete"} 1.0' in text
    (oldest,) = re.findall(r"^dimstream_recordings_oldest_timestamp_seconds (\S+)$", text, re.MULTILINE)
    assert float(oldest) == NOW - 2 * DAY_S
    assert "dimstream_recordings_deleted_total 0.0" in text


def test_the_command_lists_and_deletes_only_when_told(
    folder: Path, record: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    days_ago = (time.time() - NOW) / DAY_S
    old, young = record("old", age_days=-days_ago + 31), record("young", age_days=-days_ago + 2)
    unfinished, kept = record("unfinished", finish=False), record("kept", age_days=-days_ago + 40)
    (kept / KEEP).touch()
    assert main(["recordings", str(folder)]) == 0
    listed = capsys.readouterr().out
    assert all(one.name in listed for one in (old, young, unfinished, kept))
    assert re.search(rf"^{old.name} +0\.000 GB  complete since 20\d\d-\S+, 31\.0 days$", listed, re.MULTILINE)
    assert "unfinished: being written" in listed
    assert main(["recordings", str(folder), "--older-than", "30"]) == 0
    listed = capsys.readouterr().out
    assert listed.endswith("2 recordings, 0.000 GB\n")
    assert old.is_dir()
    with pytest.raises(SystemExit):
        main(["recordings", str(folder), "--delete"])
    assert main(["recordings", str(folder), "--older-than", "30", "--delete"]) == 1
    assert ", kept: it contains a file KEEP" in capsys.readouterr().out
    assert [one.is_dir() for one in (old, young, unfinished, kept)] == [False, True, True, True]
    assert main(["recordings", str(folder / "missing")]) == 2
    assert "cannot read" in capsys.readouterr().err
