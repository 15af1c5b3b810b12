"""The SQLite file of the journal, which continues in memory while the file cannot be used.

Files can be deleted or replaced while they are open, and SQLite does not notice: later writes are lost when
the process ends. So the files are checked regularly, and written again from the open database if necessary.
"""

import logging
import math
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from dimstream_server.folder_lock import FolderIsLocked, FolderLock

LOOK_S: Final = 1.0
Write = tuple[str, tuple[Any, ...]]
"""A statement and its values."""
_TRY_DISK_S: Final = 0.05
_REST_S: Final = 2.0
_VERSION: Final = 2  # version 1 had planes without their counts
_WAL: Final = "-wal"
_log = logging.getLogger(__name__)


class JournalError(Exception):
    """The journal cannot be opened; the text is one line for the operator."""


class JournalDatabase:
    """A database of one server. Only the thread that created it may use it.

    Parameters
    ----------
    path : Path or None
        None: it is in memory.
    tables : str
        SQL that creates missing tables.

    Raises
    ------
    JournalError
        When it cannot be created or written, has another version, or another server uses it.
    """

    def __init__(self, path: Path | None, tables: str) -> None:
        self.path = path
        self.problem: str | None = None
        self._tables = tables
        self._lock: FolderLock | None = None
        self._file: sqlite3.Connection | None = None
        self._memory: sqlite3.Connection | None = None  # used while the file cannot be used
        self._together: list[Write] | None = (
            None  # writes to commit together; None: each is committed separately
        )
        self._stamps: tuple[tuple[int, int] | None, ...] = ()
        self._try_disk_at = self._returned_at = self._looked_at = -math.inf
        if path is None:
            self._memory = self._empty()
            return
        try:
            self._lock = FolderLock(path.parent)
            self._file = self._opened(path)
        except (sqlite3.Error, OSError) as error:
            if self._lock is not None:
                self._lock.release()
            taken = isinstance(error, FolderIsLocked) or "locked" in str(error)
            why = "another server uses it" if taken else str(error)
            raise JournalError(f"cannot open the journal {path}: {why}") from error

    def close(self) -> None:
        """Write everything out and close."""
        try:
            self.look()
            if self._is_in_memory():
                self._try_disk_at = -math.inf
                self._return_to_disk()
            for database in (self._file, self._memory):
                if database is not None:
                    database.close()
        except sqlite3.Error as error:
            _log.error("journal not closed event=journal_failed reason=%r", str(error))
        if self._lock is not None:
            self._lock.release()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Commit all writes in this context together, at its end, with only one access to the disk."""
        self._look_now_and_then()
        writes = self._together = []
        try:
            yield
        finally:
            self._together = None
            self._commit(writes)

    def write(self, statement: str, values: tuple[Any, ...]) -> None:
        """Execute a write, in memory if the file cannot be written."""
        if self._together is None:
            self._look_now_and_then()
            writes = [(statement, values)]
        else:
            self._together.append((statement, values))
            writes = self._together
        try:
            if self._together is not None and self._memory is None and not self._in_use.in_transaction:
                self._in_use.execute("BEGIN")
            self._in_use.execute(statement, values)
        except sqlite3.Error as error:
            self._cannot_write(error, writes)

    def _commit(self, writes: list[Write]) -> None:
        try:
            if self._in_use.in_transaction:
                self._in_use.execute("COMMIT")
        except sqlite3.Error as error:
            self._cannot_write(error, writes)

    def _cannot_write(self, error: sqlite3.Error, writes: list[Write]) -> None:
        """Execute in memory what could not be written, with all writes of the same commit."""
        problem = f"cannot write {self.path}: {error}"
        if self._memory is not None:
            self.problem = problem
            return
        assert self._file is not None
        with suppress(sqlite3.Error):
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
        self._go_to_memory(problem)
        try:
            for write in writes:
                self._in_use.execute(*write)
        except sqlite3.Error as again:
            self.problem = f"cannot write {self.path}: {again}"

    def _look_now_and_then(self) -> None:
        if time.monotonic() - self._looked_at > LOOK_S:
            self.look()
        if self._is_in_memory():
            self._return_to_disk()

    def read(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Return rows; none if they cannot be read."""
        try:
            return self._in_use.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self.problem = f"cannot read {self.path}: {error}"
            return []

    def look(self) -> None:
        """Check whether the files are still those that were opened; if not, write them again."""
        self._looked_at = time.monotonic()
        if self.path is None:
            return
        if self._memory is None and self._stamps != _stamps(self.path):
            self._go_to_memory(f"{self.path} was deleted or replaced by another program")
            self._try_disk_at = -math.inf
        if self._is_in_memory():
            self._return_to_disk()

    @property
    def _in_use(self) -> sqlite3.Connection:
        database = self._file if self._memory is None else self._memory
        assert database is not None
        return database

    def _is_in_memory(self) -> bool:
        return self._memory is not None and self.path is not None

    def _opened(self, path: Path) -> sqlite3.Connection:
        database = sqlite3.connect(path, isolation_level=None, timeout=0)
        try:
            self._prepare(database)
        except BaseException:
            database.close()
            raise
        self._stamps = _stamps(path)
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        run = database.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run("BEGIN IMMEDIATE")  # takes the lock, and checks whether it is writable
        run("COMMIT")
        version = run("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise JournalError(
                f"{self.path} is a journal of version {version}, expected {_VERSION}; "
                "finish its streams with the server that wrote it, or move it away"
            )
        database.executescript(self._tables)
        run(f"PRAGMA user_version = {_VERSION}")

    def _empty(self) -> sqlite3.Connection:
        memory = sqlite3.connect(":memory:", isolation_level=None)
        memory.executescript(self._tables)
        return memory

    def _go_to_memory(self, why: str) -> None:
        """Continue in memory while the file cannot be used."""
        _log.error("cannot write event=journal_failed path=%s reason=%r", self.path, why)
        self.problem = why
        assert self._file is not None
        memory = sqlite3.connect(":memory:", isolation_level=None)
        try:
            self._file.backup(memory)
        except sqlite3.Error:  # it cannot be read either
            memory = self._empty()
        self._memory = memory
        # If the disk has too little space, wait longer before the next attempt.
        now = time.monotonic()
        has_just_failed = now - self._returned_at < _REST_S
        self._try_disk_at = now + (_REST_S if has_just_failed else _TRY_DISK_S)

    def _return_to_disk(self) -> None:
        now = time.monotonic()
        if now < self._try_disk_at:
            return
        self._try_disk_at = now + _TRY_DISK_S
        assert self.path is not None
        assert self._memory is not None
        try:
            if self._stamps != _stamps(self.path):
                self._open_again(self.path)
            assert self._file is not None
            self._memory.backup(self._file)
            self._stamps = _stamps(self.path)
        except (sqlite3.Error, OSError, JournalError) as error:
            self.problem = f"cannot write {self.path}: {error}"
            return
        self._memory.close()
        self._memory = None
        self._returned_at = now
        self.problem = None
        _log.warning("can write again event=journal_well path=%s", self.path)

    def _open_again(self, path: Path) -> None:
        """Open the file that now has the journal's name; a file of another program is replaced by an empty
        one."""
        assert self._lock is not None
        self._lock.renew()
        if _stamps(path)[0] not in (None, self._stamps[0]):
            _set_aside(path)
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.close()  # only now: it deletes the file with the name of its write-ahead file
            self._file = None
        self._file = self._opened(path)


def _stamps(path: Path) -> tuple[tuple[int, int] | None, ...]:
    """Return the identities of the files with the names of the database and its write-ahead file; None if
    missing."""
    return tuple(_stamp(one) for one in (path, path.with_name(path.name + _WAL)))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_aside(path: Path) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.set-aside-{number}")).exists():
        number += 1
    for ending in ("", _WAL):
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    _log.warning("a file of another program was set aside event=journal_set_aside path=%s", aside)
