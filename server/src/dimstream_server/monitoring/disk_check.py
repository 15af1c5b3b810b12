"""A folder that is written to: can it be, and what has its disk room for? Nobody else waits for the disk."""

import os
import threading
import time
from pathlib import Path
from typing import Final

LOOK_S: Final = 1.0
SILENT_S: Final = 10.0
"""So long a disk may take to answer, until it is not well."""


class DiskCheck:
    """Looks at a folder every second, on a thread of its own: a disk that does not answer stops nothing else.

    Parameters
    ----------
    folder : Path
    least_free_bytes : int
        Below it the disk is not well.
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
        """Free space; 0 when the folder cannot be reached."""
        return self._free

    def check(self) -> str | None:
        """Why the folder is not well; None when it is."""
        silent_s = time.monotonic() - self._looked_at
        if silent_s > SILENT_S:
            return f"the disk of {self._folder} has not answered for {silent_s:.0f} s"
        return self._problem

    def close(self) -> None:
        """Look no more; a disk that does not answer is not waited for."""
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
            return free, f"cannot write to {self._folder}: it is read-only, or another user's"
        if free < self._least_free_bytes:
            expected = f"expected at least {self._least_free_bytes}"
            return free, f"{free} bytes are free in {self._folder}, {expected}; make room"
        return free, None
