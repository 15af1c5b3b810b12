"""Optuna's journal file, made safe against a kill at any moment."""

from __future__ import annotations

from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from dimstream_models.training.errors import SearchError
from dimstream_models.training.search.locks import FileLock


def open_journal(path: Path) -> JournalStorage:
    """Return the journal at `path`, new if there is none; several processes may have it open.

    Raises
    ------
    SearchError
        When the file is there and is no journal.
    """
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_KernelLock(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise SearchError(
            f"expected the journal of a study at {path}, got a damaged file: {error}"
        ) from error


class _KernelLock(JournalFileOpenLock):
    """Optuna's own locks outlive a killed process by 30 s; this one dies with it."""

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal
        self._lock = FileLock(journal.with_suffix(".lock"))

    def acquire(self) -> bool:
        taken = self._lock.take(wait=True)
        _drop_torn_line(self._journal)
        return taken

    def release(self) -> None:
        self._lock.let_go()


def _drop_torn_line(journal: Path) -> None:
    """Cut off a last line that was never finished: Optuna would write on behind it and never read again."""
    with journal.open("rb+") as file:
        size = file.seek(0, 2)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
