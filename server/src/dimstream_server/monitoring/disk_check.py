"""Whether a folder is writable and its disk has enough space, without blocking any other thread."""

import os
import threading
import time
from pathlib import Path
from typing import Final

LOOK_S: Final = 1.0
SILENT_S: Final = 10.0
"""Longest time for an answer of the disk, until the check fails."""


class DiskCheck:
    """Checks a folder every second in a separate thread, so that a disk that does not answer blocks nothing
    else.

    Parameters
    ----------
    folder : Path
    least_free_bytes : int
        With less free space, the check fails.
    """

    def __init__(self, folder: Path, *, least_free_bytes: int = 0) -> None:
        self._folder = folder
        self._least_free_bytes = least_free_bytes
        self._free, self._problem = self._look()
        self._looked_at = time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dimstream-folder", daemon=True)
        self._thread.start()

    def free_bytes(self) -> float:
        """Free space, bytes; 0 if the folder cannot be reached."""
        return self._free

    def check(self) -> str | None:
        """Return what is wrong with the folder; None if it is all right."""
        silent_s = time.monotonic() - self._looked_at
        if silent_s > SILENT_S:
            return f"the disk of {self._folder} has not answered for {silent_s:.0f} s"
        return self._problem

    def close(self) -> None:
        """Stop checking, without waiting for a disk that does not answer."""
        self._is_over.set()

    def _run(self) -> None:
        while not self._is_over.wait(LOOK_S):
            self._free, self._problem = self._look()
            self._looked_at = time.monotonic()

    def _look(self) -> tuple[float, str | None]:
        try:
            disk = os.statvfs(self._folder)
        except OSError as error:
            return 0.0, f"cannot reach {self._folder}: {error.strerror}"
        free = disk.f_bavail * disk.f_frsize
        if not os.access(self._folder, os.W_OK | os.X_OK):
            return free, f"cannot write to {self._folder}: it is read-only, or belongs to another user"
        if free < self._least_free_bytes:
            expected = f"expected at least {self._least_free_bytes}"
            return free, f"{free} bytes are free in {self._folder}, {expected}; free some space"
        return free, None
