"""Metrics of each device of the engine."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dimstream_server.engine.protocol import Engine


class DeviceMetrics(Collector):
    """`dimstream_device_up`, `_streams`, `_queue_frames` and `_frames_total`, with the label `device`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """All series."""
        labels = ["device"]
        up = GaugeMetricFamily("dimstream_device_up", "1 unless the device is lost.", labels=labels)
        streams = GaugeMetricFamily("dimstream_device_streams", "Streams on the device.", labels=labels)
        queue = GaugeMetricFamily(
            "dimstream_device_queue_frames",
            "Frames accepted for the device, not yet answered.",
            labels=labels,
        )
        frames = CounterMetricFamily(
            "dimstream_device_frames", "Frames answered by the device.", labels=labels
        )
        for one in self._engine.devices():
            up.add_metric([one.name], one.trouble is None)
            streams.add_metric([one.name], one.streams)
            queue.add_metric([one.name], one.queued)
            frames.add_metric([one.name], one.answered)
        yield from (up, streams, queue, frames)
