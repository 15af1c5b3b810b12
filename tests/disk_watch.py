"""A server that notes what its event loop asks of disks: ``python disk_watch.py serve …``.

SIGUSR1 begins and ends a look; what was found is written to the file that ``DISK_WATCH`` names, as JSON.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

_ASKED = ("stat", "lstat", "statvfs", "access", "fsync", "fdatasync", "pwrite", "pread")
_CALLERS = 6
_NO_DISK = "/proc/"
_AUDITED = ("open", "os.", "shutil.", "sqlite3.", "fcntl.", "tempfile.", "glob.", "pathlib.")


class DiskWatch:
    """Notes what the main thread, which has the event loop, asks of disks."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._is_looking = False
        self.found: list[str] = []
        self.elsewhere = 0  # of other threads: that the watch sees something at all

    def toggle(self, *_: object) -> None:
        """Begin to look, or end and report."""
        if self._is_looking:
            self._is_looking = False
            self._report.write_text(json.dumps({"loop": self.found, "elsewhere": self.elsewhere}))
        else:
            self._is_looking = True

    def note(self, what: str) -> None:
        """Something was asked of a disk."""
        if not self._is_looking or _NO_DISK in what:
            return
        if threading.current_thread() is threading.main_thread():
            self.found.append(f"{what}: {' < '.join(_callers())}")
        else:
            self.elsewhere += 1

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """A hook of `sys.addaudithook`."""
        if event.startswith(_AUDITED):
            self.note(f"{event} {arguments[:1]!r}")

    def wrap(self, owner: Any, name: str) -> None:
        """Note each call of a function that raises no audit event."""
        real = getattr(owner, name)

        @functools.wraps(real)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.note(f"{name} {arguments[:1]!r}")
            return real(*arguments, **options)

        setattr(owner, name, wrapped)


def _callers() -> list[str]:
    """Where in Python it was asked; source lines are not read, which would ask the disk again."""
    frame, callers = sys._getframe(2), []
    while frame is not None and len(callers) < _CALLERS:
        callers.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        frame = frame.f_back  # type: ignore[assignment]
    return callers


def main() -> None:
    """Serve, watched."""
    watch = DiskWatch(Path(os.environ["DISK_WATCH"]))
    for name in _ASKED:
        watch.wrap(os, name)

    class Watched(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            watch.note("sqlite3 execute")
            return super().execute(*arguments)

    connect = sqlite3.connect
    sqlite3.connect = functools.partial(connect, factory=Watched)  # type: ignore[assignment]
    sys.addaudithook(watch.audit)
    signal.signal(signal.SIGUSR1, watch.toggle)
    from dimstream_server.cli import main as serve

    sys.exit(serve())


if __name__ == "__main__":
    main()
