"""Metrics of a running server, in a separate Prometheus registry."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

from dimstream_client.quality import QualityMetrics, flat, flat_figures, plain
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.monitoring.stream_metrics import StreamTable

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters that both endpoints update; they are read through `exposition`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._frames = self._counter(
            "dimstream_frames", "Frames answered.", "endpoint", "model", "status", "flag"
        )
        self._stages = Histogram(
            "dimstream_frame_seconds",
            "Time of a frame in the queue, in the network, and in all of the engine.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._refusals = self._counter(
            "dimstream_refusals", "Messages and requests refused, by error code.", "endpoint", "code"
        )
        self._fallbacks = self._counter(
            "dimstream_fallbacks",
            "Frames answered with the raw frame because of their deadline.",
            "endpoint",
            "model",
        )
        self.undeliverable = self._counter(
            "dimstream_results_undeliverable", "Results whose client had disconnected when they were ready."
        )
        self.requests = self._counter("dimstream_http_requests", "HTTP answers.", "route", "status")
        self._disks = Gauge(
            "dimstream_disk_free_bytes",
            "Free space of the disk of a folder that is written to; 0 if it cannot be reached.",
            ["folder"],
            registry=self.registry,
        )
        self._add_quality()
        self._free_bytes: dict[str, Callable[[], float]] = {}
        self.streams = StreamTable()
        self.registry.register(self.streams)
        self._gauges: list[Gauge] = []
        self._observers: list[Callable[[EngineResult], None]] = []
        self._stage_children = [self._stages.labels(stage) for stage in ("queue", "infer", "total")]
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def _add_quality(self) -> None:
        """Add the counters of the quality of frames."""
        self._notes = self._counter("dimstream_notes", "Notes on frames.", "model", "note")
        self._split = self._counter(
            "dimstream_split",
            "Frames whose photons should be split: answered, or refused.",
            "model",
            "outcome",
        )
        self._figures = {
            name: Histogram(
                f"dimstream_{name}",
                one.metadata["description"].capitalize() + ".",
                buckets=one.metadata["buckets"],
                registry=self.registry,
            )
            for name, one in flat_figures(QualityMetrics).items()
            if one.metadata["buckets"]
        }

    def watch(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Expose `read()` as the gauge `name`."""
        gauge = Gauge(name, documentation, registry=self.registry)
        gauge.set_function(read)
        self._gauges.append(gauge)

    def watch_disk(self, name: str, free_bytes: Callable[[], float]) -> None:
        """Expose the free space of a disk; `free_bytes` is called on the event loop, so it must not block."""
        self._disks.labels(name).set_function(free_bytes)
        self._free_bytes[name] = free_bytes

    def disk_free_bytes(self, name: str) -> float | None:
        """Free space of a watched disk, bytes; None for other disks."""
        free_bytes = self._free_bytes.get(name)
        return None if free_bytes is None else free_bytes()

    def add(self, collector: Collector) -> None:
        """Expose the metrics of `collector`."""
        self.registry.register(collector)

    def observe(self, observer: Callable[[EngineResult], None]) -> None:
        """Call `observer` for every frame that leaves the engine, on any thread."""
        self._observers.append(observer)

    def answered(self, endpoint: str, result: EngineResult) -> None:
        """Count one frame that has left the engine."""
        for observer in self._observers:
            observer(result)
        self._frames.labels(endpoint, result.model_id, result.status, result.flag).inc()
        if result.fallback:
            self._fallbacks.labels(endpoint, result.model_id).inc()
        times_ms = (result.t_ms.queue, result.t_ms.infer, result.t_ms.total)
        for child, time_ms in zip(self._stage_children, times_ms, strict=True):
            child.observe(time_ms / 1000)
        if result.quality is not None:
            self._count_quality(result.model_id, result.quality)

    def _count_quality(self, model: str, quality: QualityMetrics) -> None:
        for note in quality.notes:
            self._notes.labels(model, note).inc()
        if quality.split is not None:
            self._split.labels(model, "answered" if quality.split.refused is None else "refused").inc()
        found = flat(type(quality), plain(quality))
        for name, histogram in self._figures.items():
            if found[name] is not None:
                histogram.observe(found[name])

    def refused(self, endpoint: str, code: str) -> None:
        """Count one refusal."""
        self._refusals.labels(endpoint, code).inc()

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
