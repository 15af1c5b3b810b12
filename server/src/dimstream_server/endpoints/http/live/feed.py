"""Follows all streams into the history: one task, which no viewer can hold up."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_server.endpoints.http.live.history import History, StreamHistory
from dimstream_server.endpoints.http.live.recording_reader import RecordingReader
from dimstream_server.streams import FlagChange, SeenFrame, StreamEnded, StreamService

QUEUE_FRAMES: Final = 1024
"""More than there are in flight (limits.max_credit) by default, so that the timeline has every frame."""
_AT_ONCE: Final = 64
Seen = SeenFrame | FlagChange | StreamEnded
_log = logging.getLogger(__name__)


async def follow(service: StreamService, history: History, recordings: RecordingReader) -> None:
    """Put what streams show into the history, until the service stops."""
    restoring: set[asyncio.Task[None]] = set()
    dropped = 0
    with service.subscribe(None, capacity=QUEUE_FRAMES) as seen:
        async for first in seen:
            now = time.time()
            batch: list[Seen] = [first]
            while len(batch) < _AT_ONCE and (more := seen.take()) is not None:
                batch.append(more)
            means = await asyncio.to_thread(_intensities, batch)
            for one, intensity in zip(batch, means, strict=True):
                new = _take(service, history, one, intensity, now)
                if new is not None and new.folder is not None:
                    restoring.add(task := asyncio.ensure_future(_restore(new, new.folder, recordings)))
                    task.add_done_callback(restoring.discard)
            history.changed()
            if seen.dropped > dropped:
                _log.warning("the live view missed frames event=live_behind frames=%d", seen.dropped)
                dropped = seen.dropped


def mean_of(pixels: NDArray[Any]) -> float:
    """Mean of a frame (H, W), in units of the detector."""
    return float(pixels.mean(dtype=np.float64))


def _take(
    service: StreamService, history: History, seen: Seen, intensity: float, now: float
) -> StreamHistory | None:
    """Take note of what was seen; gives the stream whose earlier frames only its recording knows."""
    if isinstance(seen, StreamEnded):
        history.end(seen.stream)
    if not isinstance(seen, SeenFrame):
        return None
    known = history.add(seen, intensity=intensity, answered_at=now)
    recording = service.recording_of(known.source)
    if recording is not None:
        known.folder = recording.folder
    return known if known.count == 1 and seen.frame.seq > 0 else None


async def _restore(known: StreamHistory, folder: Path, recordings: RecordingReader) -> None:
    """Put the figures of the frames before the first that was seen into a stream's timelines."""
    known.put_before(await recordings.lines(folder))
    known.put_analysed_before(await recordings.analysed(folder, known.source.pixel_size_um))


def _intensities(batch: list[Seen]) -> list[float]:
    return [mean_of(one.frame.pixels) if isinstance(one, SeenFrame) else 0.0 for one in batch]
