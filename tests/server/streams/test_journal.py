"""The journal gives back what was written, to one server at a time, and says when it cannot write."""

import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dimstream_client.quality import Thresholds, Times
from dimstream_models.judging import PlaneJudge
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.engine.resume_state import Counts, PlaneRecord
from dimstream_server.streams.journal import CLOSED_LEASE_S, Entry, Journal, JournalError, UpdateEntry


def _entry(stream: str = "s", owner: str = "") -> Entry:
    return Entry(stream, b"token", owner, b"{}", "er", "ab", "none", opened_at=1.0)


def _result(seq: int, z: int = 0) -> EngineResult:
    judge = PlaneJudge()
    judge.suspect_since = seq
    nothing: dict[str, Any] = dict.fromkeys(
        ("reason", "ssim_prev", "compared_seq", "fractions", "quality", "pixels")
    )
    plane = PlaneRecord((0, z, 0), seq, seq, "ab", True, judge.state())
    return EngineResult(
        seq=seq, status="done", flag="ok", model_id="er", model_sha256="ab", plane=plane,
        counts=Counts(done=seq + 1), t_ms=Times(0.0, 0.0, 0.0), **nothing,
    )  # fmt: skip


def _kill(journal: Journal) -> None:
    """As if its server was killed."""
    database = journal._database
    assert database._file is not None
    assert database._lock is not None
    database._file.close()
    database._lock.release()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


def test_what_was_written_outlives_the_server(path: Path) -> None:
    journal = Journal(path)
    journal.begin(_entry())
    for seq in range(6):
        journal.answered("s", _result(seq, z=seq % 2), indexed=seq > 2)
    journal.skipped("s", 6, 8)
    update = UpdateEntry(7, "er", "ab", Thresholds(ssim=0.5))
    journal.updated("s", update)
    _kill(journal)

    journal = Journal(path)
    entry = journal.find("s")
    assert entry == _entry()
    snapshot = journal.snapshot("s", 9)
    assert [(record.plane, record.seq) for record in snapshot.planes] == [((0, 0, 0), 4), ((0, 1, 0), 5)]
    assert PlaneJudge.of_state(snapshot.planes[1].judge).suspect_since == 5
    assert (snapshot.counts, snapshot.complete, snapshot.indexed) == (Counts(done=6, skipped=3), True, True)
    assert snapshot.updates == (update,)
    assert journal.find("t") is None


def test_of_changes_only_those_are_kept_that_a_resumed_stream_may_need(path: Path) -> None:
    journal = Journal(path)
    journal.begin(_entry())
    changes = [
        UpdateEntry(seq, "er", "ab", Thresholds(ssim=n / 100)) for n, seq in enumerate((0, 2, 2, 5, 7, 7))
    ]
    for change in changes:
        journal.updated("s", change)
    assert journal.snapshot("s", 0).updates == (changes[0], changes[2], changes[3], changes[5])
    journal.acknowledged("s", 5)
    assert journal.snapshot("s", 5).updates == (changes[3], changes[5])
    by_ada = UpdateEntry(9, "er", "ab", Thresholds(ssim=0.5), by="ada")
    journal.updated("s", by_ada)
    journal.acknowledged("s", 8)
    assert journal.snapshot("s", 8).updates == (changes[5], by_ada)


def test_recalling_forgets_what_will_come_again(path: Path) -> None:
    journal = Journal(path)
    journal.begin(_entry())
    for seq in range(6):
        journal.answered("s", _result(seq), indexed=False)
    assert journal.snapshot("s", 3).counts.done == 3
    assert journal.snapshot("s", 6).complete is False
    assert journal.snapshot("s", 6).planes == ()


def test_it_stays_small_and_still_reaches_back_to_what_was_acknowledged(path: Path) -> None:
    journal = Journal(path)
    journal.begin(_entry())
    for seq in range(3000):
        journal.answered("s", _result(seq, z=seq % 3), indexed=False)
        if seq % 16 == 15:
            journal.acknowledged("s", seq - 7)
    assert path.stat().st_size < 200_000
    entry = journal.find("s")
    assert entry is not None
    for next_seq in (3000, entry.acknowledged):
        snapshot = journal.snapshot("s", next_seq)
        assert snapshot.complete
        assert [record.seq for record in snapshot.planes] == list(range(next_seq - 3, next_seq))


def test_one_server_at_a_time(path: Path) -> None:
    journal = Journal(path)
    with pytest.raises(JournalError, match="another server uses it"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_what_is_no_journal_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else" * 100)
    with pytest.raises(JournalError, match="not a database"):
        Journal(path)
    assert path.read_bytes().startswith(b"something else")
    other = path.with_name("other.sqlite")
    with sqlite3.connect(other) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="version 99, expected 2"):
        Journal(other)


def _fill(journal: Journal) -> int:
    """Let the disk be full after some more frames; return how many were answered then."""
    pages = journal._database._in_use.execute("PRAGMA page_count").fetchone()[0]
    journal._database._in_use.execute(f"PRAGMA max_page_count = {pages}")
    for seq in range(10_000):
        journal.answered("s", _result(seq, z=seq % 2), indexed=False)
        if journal.problem is not None:
            assert "full" in journal.problem
            return seq + 1
    raise AssertionError("it was never full")


def test_a_full_disk_is_told_and_hinders_nothing_while_the_server_lives(path: Path) -> None:
    journal = Journal(path)
    journal.begin(_entry())
    frames = _fill(journal)
    journal.answered("s", _result(frames), indexed=False)
    snapshot = journal.snapshot("s", frames + 1)
    assert snapshot.complete
    assert snapshot.counts.done == frames + 1


def test_what_is_written_together_is_kept_whole_when_the_disk_is_full_in_between(path: Path) -> None:
    journal = Journal(path)
    journal.begin(_entry())
    pages = journal._database._in_use.execute("PRAGMA page_count").fetchone()[0]
    journal._database._in_use.execute(f"PRAGMA max_page_count = {pages}")
    with journal.together():
        for seq in range(1000):
            journal.answered("s", _result(seq, z=seq % 2), indexed=False)
    assert "full" in str(journal.problem)
    snapshot = journal.snapshot("s", 1000)
    assert snapshot.complete
    assert snapshot.counts.done == 1000


def test_what_is_written_together_is_committed_at_once(path: Path) -> None:
    journal = Journal(path)
    commits: list[str] = []
    journal._database._in_use.set_trace_callback(commits.append)
    with journal.together():
        journal.begin(_entry())
        for seq in range(3):
            journal.answered("s", _result(seq), indexed=False)
        assert journal.find("s") == _entry()
    assert [line for line in commits if line in ("BEGIN", "COMMIT")] == ["BEGIN", "COMMIT"]
    _kill(journal)
    assert Journal(path).snapshot("s", 3).complete


def test_what_was_kept_in_memory_is_on_the_disk_once_that_can_be_written(path: Path) -> None:
    journal = Journal(path)
    journal.begin(_entry())
    frames = _fill(journal)
    assert journal._database._file is not None
    journal._database._file.execute("PRAGMA max_page_count = 1000000")
    journal._database._try_disk_at = 0
    journal.answered("s", _result(frames), indexed=False)
    assert journal.problem is None
    _kill(journal)
    snapshot = Journal(path).snapshot("s", frames + 1)
    assert snapshot.complete
    assert len(snapshot.planes) == 2


def test_a_server_that_is_killed_while_the_disk_is_full_says_that_it_has_forgotten(path: Path) -> None:
    journal = Journal(path)
    journal.begin(_entry())
    frames = _fill(journal)
    _kill(journal)
    snapshot = Journal(path).snapshot("s", frames)
    assert not snapshot.complete
    assert snapshot.planes == ()


def test_leases_end_by_the_time_that_servers_have_counted(path: Path) -> None:
    journal = Journal(path)
    for stream in ("here", "away", "shut"):
        journal.begin(_entry(stream))
    journal.closed("shut")
    assert journal.pass_time(CLOSED_LEASE_S, in_use=["here"], lease_s=9000, most=9) == []
    journal.close()
    journal = Journal(path)
    assert journal.pass_time(1, in_use=["here"], lease_s=9000, most=9) == ["shut"]
    journal.returned("away")
    assert journal.pass_time(8999, in_use=["here"], lease_s=9000, most=9) == []
    assert journal.pass_time(2, in_use=["here"], lease_s=9000, most=9) == ["away"]
    assert journal.find("here") is not None
    assert journal.find("away") is None


def test_of_too_many_streams_the_one_with_most_loses_its_oldest(path: Path) -> None:
    journal = Journal(path)
    journal.begin(_entry("modest", "one"))
    journal.pass_time(5, in_use=[], lease_s=9, most=9)
    for n in range(4):
        journal.begin(_entry(f"many{n}", "other"))
        journal.pass_time(0.1, in_use=[], lease_s=9, most=9)
    assert journal.pass_time(0, in_use=[], lease_s=9, most=3) == ["many0", "many1"]
    assert {stream for stream in ("modest", "many2", "many3") if journal.find(stream)} == {
        "modest", "many2", "many3"
    }  # fmt: skip


def test_a_forgotten_stream_leaves_nothing(path: Path) -> None:
    journal = Journal(path)
    journal.begin(_entry())
    journal.answered("s", _result(0), indexed=False)
    journal.skipped("s", 1, 2)
    journal.updated("s", UpdateEntry(3, "er", "ab", Thresholds(ssim=None)))
    journal.forget("s")
    left = [journal._database._in_use.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in
            ("streams", "frames", "gaps", "updates")]  # fmt: skip
    assert left == [0, 0, 0, 0]
    assert asdict(journal.snapshot("s", 0).counts) == asdict(Counts())
