"""What the page shows of the server and of each stream, once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from dimstream_server.endpoints.http.json_bodies import RecordingBody
from dimstream_server.endpoints.http.live.history import History, StreamHistory
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.monitoring.readiness import Readiness
from dimstream_server.monitoring.server_info import ServerInfo
from dimstream_server.recording import Recording
from dimstream_server.settings import Settings
from dimstream_server.streams import StreamService

_AGE_S = 0.5
AlertReport = Callable[[], list[dict[str, Any]]]
"""Gives the alerts that stand: `rule`, `stream`, `text`, `since`."""


class StatusReport:
    """Makes the header of `status` messages; all viewers of one half second share it."""

    def __init__(
        self,
        service: StreamService,
        history: History,
        readiness: Readiness,
        settings: Settings,
        metrics: Metrics,
        info: ServerInfo,
        *,
        alerts: AlertReport,
    ) -> None:
        self._service = service
        self._history = history
        self._readiness = readiness
        self._metrics = metrics
        self._alerts = alerts
        self._memory_bytes = settings.live.memory_bytes
        self._info = asdict(info)
        self._made: tuple[float, dict[str, Any]] = 0.0, {}

    def report(self) -> dict[str, Any]:
        """`server` and `streams`, as `docs/live-view.md` lists them."""
        now = time.monotonic()
        if now - self._made[0] > _AGE_S or not self._made[1]:
            self._made = now, self._make()
        return self._made[1]

    def _make(self) -> dict[str, Any]:
        open_now = {stream.id for stream in self._service.streams()}
        return {
            "server": {
                **self._info,
                "boot_id": self._service.boot_id,
                "time": time.time(),
                "queue": self._service.queue_length(),
                "checks": self._readiness.report(),
                "alerts": self._alerts(),
                "disk_free_bytes": self._metrics.disk_free_bytes("recordings"),
                "memory_bytes": self._history.held_bytes,
                "memory_limit_bytes": self._memory_bytes,
            },
            "streams": [
                {
                    **_stream(name, history, is_open=name in open_now),
                    "is_suspect": self._service.is_suspect(history.source),
                    "recording": _recording(self._service.recording_of(history.source)),
                }
                for name, history in self._history
            ],
        }


def _stream(name: str, history: StreamHistory, *, is_open: bool) -> dict[str, Any]:
    source, spec = history.source, history.source.spec
    return {
        "stream": name,
        "client": source.client,
        "endpoint": source.endpoint,
        "mode": source.mode,
        "model": source.model,
        "shape": spec.shape,
        "dtype": spec.in_dtype,
        "out_dtype": spec.out_dtype,
        "ceiling": None if spec.in_dtype == "float32" else int(np.iinfo(spec.in_dtype).max),
        "detector": None if spec.detector is None else asdict(spec.detector),
        "pixel_size_um": source.pixel_size_um,
        "channels": source.channels,
        "planes": list(history.planes),
        "thresholds": asdict(source.thresholds),
        "delivers_pixels": source.delivers_pixels,
        "has_support": spec.deliver_maps,
        "frames": history.count,
        "skipped": source.counts.skipped,
        "newest_seq": history.newest_seq,
        "oldest_in_memory": history.oldest_seq,
        "answered_at": history.answered_at,
        "interval_s": history.interval_s,
        "analysis": _analysis(history),
        "in_flight": source.in_flight if is_open else 0,
        "state": "ended" if history.is_over else "open" if is_open else "away",
    }


def _analysis(history: StreamHistory) -> dict[str, Any] | None:
    last = history.er.last
    return None if last is None else {**asdict(last), "frames": history.er.count}


def _recording(recording: Recording | None) -> dict[str, Any] | None:
    return None if recording is None else RecordingBody.of(recording).model_dump()
