"""Reports when a whole stream becomes suspect, or good again: to the log, the metrics and subscribers."""

from __future__ import annotations

import logging
import time

from dimstream_server.engine.protocol import EngineResult, FrameTask
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.streams.flag_watch import FlagChange, FlagWatch
from dimstream_server.streams.stream import ServerStream
from dimstream_server.streams.subscribers import Subscribers

_log = logging.getLogger(__name__)


class FlagEvents:
    """Tracks the flags of all streams that are open, or can be resumed. Only the event loop may use it.

    Parameters
    ----------
    suspect_after : int
        Judged frames in a row after which a plane counts as suspect, or as good again.
    """

    def __init__(self, metrics: Metrics, subscribers: Subscribers, *, suspect_after: int) -> None:
        self._metrics = metrics
        self._subscribers = subscribers
        self._after = suspect_after
        self._streams: dict[str, FlagWatch] = {}

    def is_suspect(self, stream_id: str) -> bool:
        """Whether a stream is suspect now."""
        watch = self._streams.get(stream_id)
        return watch is not None and watch.is_suspect

    def answered(self, stream: ServerStream, task: FrameTask, result: EngineResult) -> None:
        """Record a frame's flag."""
        watch = self._streams.get(stream.id)
        if watch is None:
            watch = self._streams[stream.id] = FlagWatch(self._after)
        if watch.judged(result.seq, task.plane, result.flag):
            self._report(
                FlagChange(
                    stream=stream.id,
                    client=stream.client,
                    model=result.model_id,
                    is_suspect=watch.is_suspect,
                    seq=result.seq,
                    reason=result.reason,
                    suspect_planes=watch.suspect_planes,
                    planes=watch.planes,
                    at=time.time(),
                )
            )

    def forget(self, stream_id: str) -> None:
        """Remove a stream that has ended."""
        self._streams.pop(stream_id, None)

    def _report(self, change: FlagChange) -> None:
        where = (change.stream, change.client, change.model, change.seq, change.suspect_planes, change.planes)
        if change.is_suspect:
            _log.warning(
                "a stream has become suspect event=stream_suspect stream=%s client=%r model=%s seq=%d "
                "suspect_planes=%d planes=%d reason=%r",
                *where,
                change.reason,
            )
        else:
            _log.info(
                "a stream is no longer suspect event=stream_well stream=%s client=%r model=%s seq=%d "
                "suspect_planes=%d planes=%d",
                *where,
            )
        self._metrics.streams.of(change.stream).turned(is_suspect=change.is_suspect)
        self._subscribers.announce(change)
