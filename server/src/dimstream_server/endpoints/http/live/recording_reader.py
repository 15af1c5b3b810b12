"""What takes time for viewers, on one thread of its own: recorded frames, means over regions, files."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from dimstream_server.endpoints.http.live.shown_frame import ShownFrame
from dimstream_server.errors import RecordingRefused
from dimstream_server.recording import AnalysedFrame
from dimstream_server.recording.analysis_log import read_analysis
from dimstream_server.recording.playback import Playback

_MOST_OPEN: Final = 8
_log = logging.getLogger(__name__)
Found = TypeVar("Found")


class RecordingReader:
    """Reads recordings; those that were asked for last are known by their lines."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="live-recordings")
        self._open: OrderedDict[Path, Playback] = OrderedDict()  # the thread's

    async def run(self, work: Callable[[], Found]) -> Found:
        """What `work` gives, done on that thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def frame(self, folder: Path, seq: int) -> ShownFrame | None:
        """A frame of a recording; None where it cannot be had, which the log explains."""
        return await self.run(lambda: self._frame(folder, seq))

    async def lines(self, folder: Path) -> list[dict[str, Any]]:
        """The lines of the frames of a recording, as far as it can be read."""
        return await self.run(lambda: _lines(folder))

    async def analysed(self, folder: Path, pixel_um: float | None) -> list[AnalysedFrame]:
        """What an analysis found of the frames of a recording, as far as it can be read."""
        return await self.run(lambda: _analysed(folder, pixel_um))

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _frame(self, folder: Path, seq: int) -> ShownFrame | None:
        try:
            played = self._playback(folder).frame(seq)
        except (OSError, ValueError, KeyError, TypeError, RecordingRefused) as error:
            self._open.pop(folder, None)
            _log.warning("cannot read a recording event=unreadable folder=%s reason=%r", folder, str(error))
            return None
        return None if played is None else ShownFrame.of_played(played)

    def _playback(self, folder: Path) -> Playback:
        if folder not in self._open:
            self._open[folder] = Playback(folder)
        self._open.move_to_end(folder)
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return self._open[folder]


def _analysed(folder: Path, pixel_um: float | None) -> list[AnalysedFrame]:
    try:
        return read_analysis(folder, pixel_um)
    except (OSError, ValueError) as error:
        _log.warning("cannot read figures event=unreadable folder=%s reason=%r", folder, str(error))
        return []


def _lines(folder: Path) -> list[dict[str, Any]]:
    try:
        return list(Playback(folder).lines())
    except (OSError, ValueError, KeyError, RecordingRefused) as error:
        _log.warning("cannot read a recording event=unreadable folder=%s reason=%r", folder, str(error))
        return []
