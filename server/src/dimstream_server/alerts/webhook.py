"""Posts notices to a web hook, on a thread of its own: what hangs there holds up nothing else."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import httpx
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dimstream_server.alerts.alert import Notice
from dimstream_server.alerts.webhook_formats import body_of
from dimstream_server.settings import AlertsTable

MOST_QUEUED: Final = 64
"""Notices that wait; a further one is left out, and logged."""
FIRST_PAUSE_S: Final = 1.0
"""Before the second attempt; twice as long before each further one, at most `LONGEST_PAUSE_S`."""
LONGEST_PAUSE_S: Final = 60.0
OUTCOMES: Final = ("delivered", "failed", "left_out")
_log = logging.getLogger(__name__)


class WebhookFailed(Exception):
    """A web hook did not accept a notice; the text says why, and names no address.

    Parameters
    ----------
    is_final : bool
        Whether the same again would be refused again.
    """

    def __init__(self, why: str, *, is_final: bool = False) -> None:
        super().__init__(why)
        self.is_final = is_final


class Webhook(Collector):
    """A web hook that notices are posted to, in their order.

    Parameters
    ----------
    first_pause_s : float
        See `FIRST_PAUSE_S`.
    """

    def __init__(self, settings: AlertsTable, *, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._settings = settings
        self._first_pause_s = first_pause_s
        self._waiting: queue.Queue[Notice] = queue.Queue(MOST_QUEUED)
        self._is_over = threading.Event()
        self._outcomes: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="dimstream-webhook", daemon=True)
        self._thread.start()

    def send(self, notice: Notice) -> None:
        """Have a notice posted; never waits."""
        try:
            self._waiting.put_nowait(notice)
        except queue.Full:
            self._failed("left_out", notice, f"{MOST_QUEUED} notices wait already")

    def close(self) -> None:
        """Post no more; what hangs is not waited for."""
        self._is_over.set()

    def collect(self) -> Iterator[Metric]:
        """`dimstream_alert_posts_total`, by outcome."""
        posts = CounterMetricFamily(
            "dimstream_alert_posts", "Notices for the web hook, by what became of them.", labels=["outcome"]
        )
        for outcome in OUTCOMES:
            posts.add_metric([outcome], self._outcomes[outcome])
        yield posts

    def describe(self) -> list[Metric]:
        """Nothing ahead of time: the registry takes the names as they come."""
        return []

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                notice = self._waiting.get(timeout=0.5)
            except queue.Empty:
                continue
            try:
                self._deliver(notice)
                self._outcomes["delivered"] += 1
            except WebhookFailed as error:
                self._failed("failed", notice, str(error))
            except Exception as error:  # one notice is lost, the next may go
                self._failed("failed", notice, f"internal error ({type(error).__name__})")

    def _deliver(self, notice: Notice) -> None:
        """Post a notice, again after a pause when that failed.

        Raises
        ------
        WebhookFailed
            The last attempt's.
        """
        pause_s = self._first_pause_s
        for left in reversed(range(self._settings.webhook_attempts)):
            try:
                return post(notice, self._settings)
            except WebhookFailed as error:
                if error.is_final or not left or self._is_over.wait(pause_s):
                    raise
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        raise AssertionError("the last attempt either succeeds or raises")

    def _failed(self, outcome: str, notice: Notice, why: str) -> None:
        _log.error(
            "a notice was not sent event=alert_not_sent rule=%s stream=%s reason=%r",
            *(notice.finding.rule, notice.finding.stream, why),
        )
        self._outcomes[outcome] += 1  # after the log: whoever sees the count finds the reason


def post(notice: Notice, settings: AlertsTable) -> None:
    """Post a notice once, within `webhook_timeout_s` in all.

    Raises
    ------
    WebhookFailed
    """
    asyncio.run(_post(body_of(notice, settings.webhook_format), settings))


async def _post(body: dict[str, Any], settings: AlertsTable) -> None:
    assert settings.webhook_url is not None, "only asked where there is one"
    url, timeout_s = settings.webhook_url.get_secret_value(), settings.webhook_timeout_s
    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(timeout=timeout_s) as client,
            client.stream("POST", url, json=body) as answer,  # whose body may never end
        ):
            status = answer.status_code
    except TimeoutError:
        raise WebhookFailed(f"no answer within {timeout_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise WebhookFailed(_words(error)) from None
    if not 200 <= status < 300:
        is_final = 300 <= status < 500 and status not in (408, 425, 429)
        raise WebhookFailed(f"expected an answer 2xx, got {status}", is_final=is_final)


def _words(error: Exception) -> str:
    """What went wrong, without the address, which is a secret."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    return f"{type(error).__name__}: {_words_of_system(cause)}"


def _words_of_system(cause: BaseException) -> str:
    if isinstance(cause, socket.gaierror):
        return "its name is not known here, or no name server answers"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return type(cause).__name__
