"""The journal's thread: in order, committed before anybody is told, and never dead."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from dimstream_server.streams.journal import Entry, Journal, JournalError
from dimstream_server.streams.journal_thread import NAME, JournalThread


def _entry(stream: str) -> Entry:
    return Entry(stream, b"token", "", b"{}", "er", "ab", "none", opened_at=1.0)


def run(journal: JournalThread, test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        journal.start(asyncio.get_running_loop())
        async with asyncio.timeout(60):
            await test()

    asyncio.run(main())


def test_what_was_asked_for_is_done_in_order_by_one_thread(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []
    told: list[int] = []

    async def test() -> None:
        for number in range(200):

            def work(_: Journal, number: int = number) -> int:
                seen.append((number, threading.current_thread().name))
                return number

            journal.put(work, told.append)
        journal.put(None, told.append)
        await journal.ask(lambda _: None)
        assert seen == [(number, NAME) for number in range(200)]
        assert told == [*range(200), None]

    with closing(JournalThread(tmp_path / "journal.sqlite")) as journal:
        run(journal, test)


def test_who_is_told_finds_it_committed(tmp_path: Path) -> None:
    """Another connection, which sees what is committed only, as a server that starts after a kill would."""
    path = tmp_path / "journal.sqlite"
    depths: list[bool] = []

    async def test() -> None:
        holds = threading.Event()
        journal.put(lambda _: holds.wait(60))  # the others are committed together behind it
        for number in range(5):
            journal.put(lambda opened, number=number: opened.begin(_entry(f"s{number}")))  # type: ignore[misc]
        told = journal.ask(lambda opened: opened._database._in_use)
        holds.set()
        database = await told
        depths.append(database.in_transaction)
        assert all(journal.keeps(f"s{number}") for number in range(5))

    with closing(JournalThread(path)) as journal:
        run(journal, test)
    assert depths == [False]
    with closing(JournalThread(path)) as journal:
        assert journal.keeps("s4")
        assert not journal.keeps("s5")


def test_a_job_that_fails_harms_no_other(tmp_path: Path) -> None:
    def fail(_: Journal) -> None:
        raise ValueError("a fault")

    def bad_callback(_: object) -> None:
        raise ValueError("a fault of who is told")

    async def test() -> None:
        failures: list[Exception] = []
        journal.put(lambda opened: opened.begin(_entry("before")), bad_callback)
        journal.put(fail, None, failures.append)
        with pytest.raises(ValueError, match="a fault"):
            await journal.ask(fail)
        await journal.ask(lambda opened: opened.begin(_entry("behind")))
        assert [str(failure) for failure in failures] == ["a fault"]
        assert journal.keeps("before")
        assert journal.keeps("behind")

    with closing(JournalThread(tmp_path / "journal.sqlite")) as journal:
        run(journal, test)


def test_what_was_asked_for_is_done_before_it_closes(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = JournalThread(path)

    async def test() -> None:
        for number in range(500):
            journal.put(lambda opened, number=number: opened.begin(_entry(f"s{number}")))  # type: ignore[misc]

    run(journal, test)
    journal.close()
    with closing(JournalThread(path)) as again:
        assert again.keeps("s499")


def test_a_journal_that_cannot_be_opened_is_told_to_who_wants_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"something else" * 100)
    with pytest.raises(JournalError, match="not a database"):
        JournalThread(path)
