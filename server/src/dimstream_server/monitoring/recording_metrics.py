"""Metrics of the recordings on the disk, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dimstream_server.recording.retention import Retention


class RecordingMetrics(Collector):
    """Results of the last check of the recordings; nothing before the first check."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention

    def collect(self) -> Iterator[Metric]:
        """All series."""
        stored = self._retention.stored
        if stored is None:
            return
        count = GaugeMetricFamily("dimstream_recordings", "Recordings on the disk.", labels=["state"])
        nbytes = GaugeMetricFamily(
            "dimstream_recordings_bytes", "Bytes of recordings on the disk.", labels=["state"]
        )
        for state in ("complete", "unfinished"):
            count.add_metric([state], getattr(stored, state))
            nbytes.add_metric([state], getattr(stored, f"{state}_bytes"))
        yield from (count, nbytes)
        if stored.oldest_finished_at is not None:
            yield GaugeMetricFamily(
                "dimstream_recordings_oldest_timestamp_seconds",
                "Time at which the oldest complete recording was finished.",
                stored.oldest_finished_at,
            )
        yield CounterMetricFamily(
            "dimstream_recordings_deleted",
            "Recordings deleted since the start because of recording.keep_days.",
            stored.deleted,
        )
        yield CounterMetricFamily(
            "dimstream_recordings_deleted_bytes",
            "Bytes of recordings deleted since the start.",
            stored.deleted_bytes,
        )

    def describe(self) -> list[Metric]:
        """Return nothing: the folder is not read before the server is running."""
        return []
