"""Output of ``dimstream watch``: a line for each file that is done or failed, and what it waits for."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from dimstream_client.commands.reading import description_of, remarks_on
from dimstream_client.files import ImageStack
from dimstream_client.folders.tables import FileState


class WatchProgress:
    """Prints finished files; describes the first file of each kind, with notes on doubtful metadata."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._described: set[str] = set()

    def begin(self, n: int, name: str, stack: ImageStack) -> None:
        """See `Watcher`."""
        description = description_of(stack)
        if description not in self._described:
            self._described.add(description)
            self.say(f"{name}: {description}")
            for remark in remarks_on(stack):
                self.say(f"  note: {remark}")
        if not self._quiet and len(stack) > 1:
            self._bar = tqdm(total=len(stack), unit="frame", leave=False)

    def frame(self, counts: dict[str, int]) -> None:
        """See `Watcher`."""
        if self._bar is not None:
            self._bar.n = sum(counts.values())
            self._bar.refresh()

    def end(self, n: int, state: FileState) -> None:
        """See `Watcher`."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        counts = {} if state.done is None else state.done.counts
        flags = ", ".join(f"{k} {flag}" for flag, k in counts.items() if k)
        why = f": {state.reason}" if state.reason else ""
        self.say(f"{state.file}: {state.state}{', ' if flags else ''}{flags}{why}")

    def warn(self, text: str) -> None:
        """Print a warning on stderr with the time, also with --quiet."""
        tqdm.write(f"{time.strftime('%H:%M:%S')} dimstream: {text}", file=sys.stderr)

    def say(self, text: str) -> None:
        """See `Watcher`."""
        if not self._quiet:
            tqdm.write(text, file=sys.stdout)
