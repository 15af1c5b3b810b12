"""Monitors the disk of the recordings."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)
LOOK_S: Final = 0.5
"""Interval of reading the free space, s; in between, written bytes are subtracted."""


class DiskWatch:
    """Monitors the free space of a folder's disk.

    Parameters
    ----------
    reserve_bytes : int
        Free space that recordings must leave.
    warn_bytes : int
        Free space below which a warning is logged, once each time that it falls below.
    """

    def __init__(self, folder: Path, *, reserve_bytes: int, warn_bytes: int) -> None:
        self._folder = folder
        self.reserve_bytes, self._warn_bytes = reserve_bytes, warn_bytes
        self._looked_at = -LOOK_S
        self._free, self._written = 0, 0
        self._is_low = False
        self._unwell: str | None = None

    def look(self, *, now: bool = False) -> int:
        """Return the free bytes; they are read from the operating system at most every `LOOK_S` seconds,
        unless `now`.

        Raises
        ------
        OSError
        """
        if now or time.monotonic() - self._looked_at >= LOOK_S:
            self._looked_at = time.monotonic()
            self._free, self._written = shutil.disk_usage(self._folder).free, 0
            self._warn()
        return self._free - self._written

    def wrote(self, nbytes: int) -> None:
        """Subtract bytes that were written since the last reading."""
        self._written += nbytes

    def check(self) -> None:
        """Check the folder for `problem`; this may wait for the disk."""
        try:
            free = self.look()
        except OSError as error:
            self._unwell = f"the recording folder {self._folder} is missing: {error.strerror}"
            return
        if not os.access(self._folder, os.W_OK | os.X_OK):
            self._unwell = f"the recording folder {self._folder} is not writable"
        elif free < self.reserve_bytes:
            self._unwell = self.below_reserve(free)
        else:
            self._unwell = None

    def problem(self) -> str | None:
        """Return what was wrong at the last `check`; None if nothing."""
        return self._unwell

    def below_reserve(self, free: int) -> str:
        """Return the message for a full disk."""
        return (
            f"the disk of {self._folder} has {free / 1e9:.2f} GB free, expected at least "
            f"{self.reserve_bytes / 1e9:.2f} (recording.reserve_bytes); free some space"
        )

    def _warn(self) -> None:
        was_low, self._is_low = self._is_low, self._free < self._warn_bytes
        if self._is_low and not was_low:
            _log.warning(
                "little space for recordings event=disk_low folder=%s free_bytes=%d warn_bytes=%d",
                self._folder,
                self._free,
                self._warn_bytes,
            )
