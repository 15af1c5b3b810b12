"""Watches all streams while the server runs, and sends notices of what the rules find.

It is one subscriber among others: it holds up no stream. All of it belongs to the event loop, but for the web
hook's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dimstream_server.alerts.active import ActiveAlerts
from dimstream_server.alerts.alert import RULES, Finding, Notice
from dimstream_server.alerts.rules import StreamRules, StreamSigns
from dimstream_server.alerts.webhook import Webhook
from dimstream_server.monitoring.metrics import Metrics
from dimstream_server.monitoring.readiness import OK, Readiness
from dimstream_server.settings import Settings
from dimstream_server.streams import SeenFrame, ServerStream, StreamEnded, StreamService

LOOK_S: Final = 1.0
"""How often the rules are asked."""
QUEUE_FRAMES: Final = 1024
DISK_RECOVERY: Final = 1.05
"""Times its limit, that a disk's free space must be until it is well again."""
_CHECKS_OF_OTHERS: Final = ("draining", "recording")
"""Checks that are no alert: a stop was asked for, and recordings have rules of their own."""
_log = logging.getLogger(__name__)


class AlertWatch(Collector):
    """Watches streams, disks and checks.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        service: StreamService,
        readiness: Readiness,
        metrics: Metrics,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service, self._readiness, self._metrics = service, readiness, metrics
        self._settings = settings
        self._rules = StreamRules(settings.alerts)
        self._active = ActiveAlerts(
            repeat_s=settings.alerts.repeat_s, most_per_hour=settings.alerts.max_per_hour
        )
        self._clock = clock
        self._signs: dict[str, StreamSigns] = {}
        self._ended: set[str] = set()  # since the rules were asked last
        self._raised: Counter[str] = Counter()
        self._is_disk_low = False
        self._webhook = Webhook(settings.alerts) if settings.alerts.webhook_url is not None else None
        metrics.add(self)
        if self._webhook is not None:
            metrics.add(self._webhook)

    def report(self) -> list[dict[str, Any]]:
        """The alerts that are active, as the live view shows them."""
        return [
            {
                "rule": one.finding.rule,
                "stream": one.finding.stream,
                "text": one.finding.text,
                "since": one.since,
            }
            for one in self._active
        ]

    async def follow(self) -> None:
        """Watch until this is cancelled, or the service stops."""
        looking = asyncio.ensure_future(self._look_again())
        try:
            with self._service.subscribe(None, capacity=QUEUE_FRAMES) as seen:
                async for one in seen:
                    self._take_safely(one)
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    def close(self) -> None:
        """Let the web hook's thread end."""
        if self._webhook is not None:
            self._webhook.close()

    def take(self, seen: object) -> None:
        """Take note of what was seen of a stream."""
        if isinstance(seen, StreamEnded):
            self._forget(seen.stream)
        elif isinstance(seen, SeenFrame) and seen.source is not None and not seen.source.is_request:
            self._take_frame(seen, seen.source)

    def look(self) -> list[Notice]:
        """Ask the rules, and send notices of what has changed."""
        findings = list(self._findings())
        notices = self._active.update(findings, time.time(), ended=self._ended)
        self._ended.clear()
        for notice in notices:
            self._send(notice)
        return notices

    def collect(self) -> Iterator[Metric]:
        """`dimstream_alerts` and `dimstream_alerts_raised_total`, by rule."""
        by_rule = Counter(one.finding.rule for one in self._active)
        active = GaugeMetricFamily("dimstream_alerts", "Alerts that are active.", labels=["rule"])
        raised = CounterMetricFamily("dimstream_alerts_raised", "Alerts that were sent.", labels=["rule"])
        for rule in RULES:
            active.add_metric([rule], by_rule[rule])
            raised.add_metric([rule], self._raised[rule])
        yield from (active, raised)

    def describe(self) -> list[Metric]:
        """Nothing ahead of time: the registry takes the names as they come."""
        return []

    def _take_safely(self, seen: object) -> None:
        try:
            self.take(seen)
        except Exception:  # alerts must outlive a fault in one frame
            _log.exception("alerts ignored a frame event=internal_error check=alerts")

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.look()
            except Exception:  # alerts must outlive a fault in one rule
                _log.exception("alerts could not be checked event=internal_error check=alerts")

    def _take_frame(self, seen: SeenFrame, source: ServerStream) -> None:
        now = self._clock()
        signs = self._signs_of(source, now)
        index, counts = seen.frame.index, source.counts
        plane = (index.c, index.z, index.p)
        signs.answered(plane, seen.result, dropped=counts.skipped + counts.failed, now=now)

    def _signs_of(self, stream: ServerStream, now: float) -> StreamSigns:
        if stream.id not in self._signs:
            self._signs[stream.id] = self._rules.signs_of(stream.id, stream.client, now)
        return self._signs[stream.id]

    def _forget(self, name: str) -> None:
        if self._signs.pop(name, None) is not None:
            self._ended.add(name)

    def _streams_now(self, now: float) -> dict[str, ServerStream]:
        """Return the open streams; watch those that are new, and forget those that do not exist any more."""
        open_now = {stream.id: stream for stream in self._service.streams() if not stream.is_request}
        for stream in open_now.values():
            if not stream.closing:  # else its end may have been seen already
                self._signs_of(stream, now)
        for name in [name for name in self._signs if not self._service.exists(name)]:
            self._forget(name)  # one that could not be opened has no end
        return open_now

    def _findings(self) -> Iterator[Finding]:
        now = self._clock()
        open_now = self._streams_now(now)
        for name, signs in self._signs.items():
            stream = open_now.get(name)
            if stream is not None and not stream.closing:  # else its files are closed
                recording = self._service.recording_of(stream)
                signs.recording = None if recording is None else recording.state
            yield from self._rules.findings(
                signs,
                now=now,
                is_open=stream is not None,
                in_flight=0 if stream is None else stream.in_flight,
            )
        yield from self._disk()
        yield from self._checks()

    def _disk(self) -> Iterator[Finding]:
        free, least = self._metrics.disk_free_bytes("recordings"), self._settings.recording.warn_bytes
        if free is None or not self._settings.alerts.disk_fills:
            return
        self._is_disk_low = free < least * (DISK_RECOVERY if self._is_disk_low else 1.0)
        if self._is_disk_low:
            text = (
                f"the disk of the recordings fills: {free / 1e9:.2f} GB are free, expected"
                f" {least / 1e9:.2f} (recording.warn_bytes); make room"
            )
            yield Finding(rule="disk_fills", subject="recordings", text=text)

    def _checks(self) -> Iterator[Finding]:
        if not self._settings.alerts.not_ready:
            return
        for name, said in self._readiness.report().items():
            if said != OK and name not in _CHECKS_OF_OTHERS:
                yield Finding(rule="not_ready", subject=name, text=f"the check {name} is not well: {said}")

    def _send(self, notice: Notice) -> None:
        finding = notice.finding
        where = (finding.rule, finding.subject, finding.stream, finding.client, finding.seq, notice.text)
        if notice.event == "raised":
            self._raised[finding.rule] += 1
            _log.warning("an alert event=alert rule=%s subject=%s stream=%s client=%r seq=%s text=%r", *where)
        else:
            _log.info(
                "an alert is over event=alert_over rule=%s subject=%s stream=%s client=%r seq=%s text=%r",
                *where,
            )
        if self._webhook is not None:
            self._webhook.send(notice)
