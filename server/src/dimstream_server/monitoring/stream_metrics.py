"""Metrics of single streams: the outcome of their frames, by stream and client, limited in number.

All of it belongs to the event loop: the ZeroMQ endpoint counts there, and `/metrics` is answered there.
"""

from __future__ import annotations

import bisect
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dimstream_server.engine.protocol import EngineResult
from dimstream_server.engine.resume_state import Plane

KEEP_CLOSED_S: Final = 300.0
MOST_STREAMS: Final = 256
OTHER: Final = "other"
REQUESTS: Final = "http"
LONGEST_CLIENT: Final = 64
_LABELS: Final = ("stream", "client")
_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BOUNDS: Final = (*map(str, _SECONDS), "+Inf")
_ER_FIGURES: Final = ("foreground", "tubule_fraction", "sheet_fraction", "junctions", "gaps", "components")
_COUNTED: Final = {
    "received": ("dimstream_stream_frames_received", "Frames that were accepted."),
    "denoised": ("dimstream_stream_frames_denoised", "Frames that were denoised."),
    "failed": ("dimstream_stream_frames_failed", "Frames on which the model failed."),
    "skipped": ("dimstream_stream_frames_skipped", "Frames that the client has skipped."),
    "resent": ("dimstream_stream_frames_resent", "Frames that were sent again after a stream was resumed."),
    "turned": ("dimstream_stream_turned_suspect", "Number of times that the stream became suspect."),
    "analysed": ("dimstream_stream_frames_analysed", "Frames whose figures were sent by an analysis."),
    "reconnects": ("dimstream_stream_reconnects", "Number of times that the stream was resumed."),
}


class StreamMetrics:
    """Metrics of one stream.

    Parameters
    ----------
    stream, client : str
        Its id, and the name that its client states.
    """

    def __init__(self, stream: str, client: str) -> None:
        self.labels = (stream, client[:LONGEST_CLIENT])
        self.counts: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self._last_seq = -1
        self.slots = [0] * len(_BOUNDS)
        self.seconds = 0.0
        self.heard_at: float | None = None  # of the last frame, seconds since 1970
        self.closed_at: float | None = None  # by the table's clock
        self.is_suspect = False
        self.frames_left: dict[Plane, float] = {}  # of declining planes
        self.er_figures: dict[str, float] = {}  # of the last analysed frame
        self.analysed_at: float | None = None  # seconds since 1970
        self.queue: Callable[[], int] | None = None

    def received(self, seq: int) -> None:
        """Record that frame `seq` was accepted; if it was accepted before, it was sent again."""
        self.counts["received"] += 1
        self.counts["resent"] += seq <= self._last_seq
        self._last_seq = max(self._last_seq, seq)
        self.heard_at = time.time()

    def skipped(self, frames: int) -> None:
        """Record that this number of frames will never arrive."""
        self.counts["skipped"] += frames

    def resent(self, frames: int = 1) -> None:
        """Record frames that were sent again only for comparisons."""
        self.counts["resent"] += frames

    def reconnected(self) -> None:
        """Record that the stream was resumed."""
        self.counts["reconnects"] += 1

    def answered(self, result: EngineResult) -> None:
        """Record the result of one frame: its status, flag and time."""
        self.counts["failed" if result.status == "failed" else "denoised"] += 1
        self.flagged(result.flag)
        self.took(result.t_ms.total / 1000)
        self._foreseen(result)

    def _foreseen(self, result: EngineResult) -> None:
        forecast = None if result.quality is None else result.quality.forecast
        plane = None if result.plane is None else result.plane.plane
        if plane is not None and forecast is not None:
            self.frames_left[plane] = forecast.frames
        elif plane is not None:
            self.frames_left.pop(plane, None)

    def analysed(self, figures: Mapping[str, float | None], *, found_at: float) -> None:
        """Record the figures of a frame from an analysis, in px, and their time, seconds since 1970."""
        self.counts["analysed"] += 1
        known = ((name, figures.get(name)) for name in _ER_FIGURES)
        self.er_figures = {name: value for name, value in known if value is not None}
        self.analysed_at = found_at

    def turned(self, *, is_suspect: bool) -> None:
        """Record that the stream has become suspect, or good again."""
        self.counts["turned"] += is_suspect
        self.is_suspect = is_suspect

    def flagged(self, flag: str) -> None:
        """Record the flag of one frame."""
        self.flags[flag] += 1

    def took(self, seconds: float) -> None:
        """Record the time of one frame in the engine."""
        self.slots[bisect.bisect_left(_SECONDS, seconds)] += 1
        self.seconds += seconds


class _Together(StreamMetrics):
    """Metrics of all streams without a row of their own; values of single streams are not kept."""

    def received(self, seq: int) -> None:
        self.counts["received"] += 1
        self.heard_at = time.time()

    def analysed(self, figures: Mapping[str, float | None], *, found_at: float) -> None:
        self.counts["analysed"] += 1

    def _foreseen(self, result: EngineResult) -> None:
        pass


class StreamTable(Collector):
    """The streams whose metrics are exposed: open ones and, for some minutes, ended ones.

    Parameters
    ----------
    most : int
        Most streams that are exposed at once. Further streams are counted as stream `other`.
    keep_s : float
        How long a stream is exposed after its end, so that its last values are scraped.
    clock : callable
        A monotonic clock, seconds.
    """

    def __init__(
        self,
        *,
        most: int = MOST_STREAMS,
        keep_s: float = KEEP_CLOSED_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._keep_s = keep_s
        self._clock = clock
        self._streams: dict[str, StreamMetrics] = {}
        self._other = _Together(OTHER, OTHER)
        self.requests: StreamMetrics = _Together(
            REQUESTS, REQUESTS
        )  # one series for all, because each is short

    def open(self, stream: str, client: str, queue: Callable[[], int]) -> StreamMetrics:
        """Return the metrics of a new stream, or the existing ones of a resumed stream if they are still
        exposed.

        Parameters
        ----------
        queue : callable
            Returns the number of its frames that were accepted but not answered.
        """
        self._forget()
        found = self._streams.pop(stream, None)
        if found is None:
            if len(self._streams) >= self._most and not self._make_room():
                return self._other
            found = StreamMetrics(stream, client)
        self._streams[stream] = found
        found.queue, found.closed_at = queue, None
        return found

    def of(self, stream: str) -> StreamMetrics:
        """Return the metrics of a stream, or those of `other` if it is not exposed."""
        return self._streams.get(stream, self._other)

    def close(self, stream: str) -> None:
        """Record that a stream has ended, or that its client has disconnected."""
        found = self._streams.get(stream)
        if found is not None:
            found.closed_at, found.queue = self._clock(), None

    def collect(self) -> Iterator[Metric]:
        """All series, as Prometheus reads them."""
        self._forget()
        shown = list(self._streams.values())
        shown += [one for one in (self.requests, self._other) if one.counts or one.flags]
        for name, (metric, text) in _COUNTED.items():
            counter = CounterMetricFamily(metric, text, labels=_LABELS)
            for one in shown:
                counter.add_metric(one.labels, one.counts[name])
            yield counter
        yield from _flags(shown)
        yield from _gauges([one for one in shown if one is not self.requests])
        yield from _er_gauges(shown)
        yield _seconds(shown)

    def describe(self) -> list[Metric]:
        """Return nothing: the registry takes the names when they are collected."""
        return []

    def _forget(self) -> None:
        earliest = self._clock() - self._keep_s
        for name, one in list(self._streams.items()):
            if one.closed_at is not None and one.closed_at <= earliest:
                del self._streams[name]

    def _make_room(self) -> bool:
        """Remove the stream that ended first before its time; return whether there was one."""
        ended = [(one.closed_at, name) for name, one in self._streams.items() if one.closed_at is not None]
        if not ended:
            return False
        del self._streams[min(ended)[1]]
        return True


def _flags(shown: list[StreamMetrics]) -> Iterator[Metric]:
    flags = CounterMetricFamily("dimstream_stream_flags", "Frames with this flag.", labels=(*_LABELS, "flag"))
    for one in shown:
        for flag, count in one.flags.items():
            flags.add_metric((*one.labels, flag), count)
    yield flags


def _gauges(shown: list[StreamMetrics]) -> Iterator[Metric]:
    is_open = GaugeMetricFamily("dimstream_stream_open", "1 while the stream is open.", labels=_LABELS)
    suspect = GaugeMetricFamily("dimstream_stream_suspect", "1 while a stream is suspect.", labels=_LABELS)
    queue = GaugeMetricFamily(
        "dimstream_stream_queue_frames",
        "Frames of an open stream that were accepted but not answered.",
        labels=_LABELS,
    )
    heard = GaugeMetricFamily(
        "dimstream_stream_last_frame_timestamp_seconds",
        "Time at which its last frame was accepted.",
        labels=_LABELS,
    )
    left = GaugeMetricFamily(
        "dimstream_stream_frames_left",
        "Frames until the first plane of an open stream will be suspect, while one certainly declines.",
        labels=_LABELS,
    )
    for one in shown:
        if one.frames_left and one.closed_at is None:
            left.add_metric(one.labels, min(one.frames_left.values()))
        is_open.add_metric(one.labels, one.closed_at is None)
        suspect.add_metric(one.labels, one.is_suspect and one.closed_at is None)
        if one.queue is not None:
            queue.add_metric(one.labels, one.queue())
        if one.heard_at is not None:
            heard.add_metric(one.labels, one.heard_at)
    yield from (is_open, suspect, left, queue, heard)


def _er_gauges(shown: list[StreamMetrics]) -> Iterator[Metric]:
    found = GaugeMetricFamily(
        "dimstream_stream_er_figure",
        "Figures of the last analysed frame; docs/analysis.md defines them.",
        labels=(*_LABELS, "figure"),
    )
    at = GaugeMetricFamily(
        "dimstream_stream_analysed_timestamp_seconds", "Time of the last figures.", labels=_LABELS
    )
    for one in shown:
        for name, value in one.er_figures.items():
            found.add_metric((*one.labels, name), value)
        if one.analysed_at is not None:
            at.add_metric(one.labels, one.analysed_at)
    yield from (found, at)


def _seconds(shown: list[StreamMetrics]) -> Metric:
    seconds = HistogramMetricFamily(
        "dimstream_stream_frame_seconds",
        "Time of a frame in the engine, including its queue.",
        labels=_LABELS,
    )
    for one in shown:
        buckets = list(zip(_BOUNDS, map(float, accumulate(one.slots)), strict=True))
        seconds.add_metric(one.labels, buckets, one.seconds)
    return seconds
