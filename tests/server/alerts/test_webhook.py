"""Notices reach a real web hook in order; one that fails or hangs loses its own notices, in words."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ports import free_port
from prometheus_client import CollectorRegistry
from web_hooks import web_hook

from dimstream_server.alerts.alert import Event, Finding, Notice
from dimstream_server.alerts.webhook import MOST_QUEUED, Webhook
from dimstream_server.alerts.webhook_formats import body_of
from dimstream_server.monitoring.logs import EventFormatter
from dimstream_server.settings import AlertsTable


def notice(text: str = "frames <stopped> & more", event: Event = "raised", **more: Any) -> Notice:
    finding = Finding(rule="frames_stop", subject="s1", text=text, stream="s1", client="sted", seq=41)
    return Notice(event=event, finding=finding, at=1000.5, since=900.25, **more)


@contextmanager
def posting(url: str, **settings: Any) -> Iterator[tuple[Webhook, CollectorRegistry]]:
    table = AlertsTable(webhook_url=url, **{"webhook_timeout_s": 20, **settings})  # type: ignore[arg-type]
    webhook, registry = Webhook(table, first_pause_s=0.01), CollectorRegistry()
    registry.register(webhook)
    try:
        yield webhook, registry
    finally:
        webhook.close()


def wait_for(registry: CollectorRegistry, **outcomes: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        found = {
            outcome: registry.get_sample_value("dimstream_alert_posts_total", {"outcome": outcome})
            for outcome in outcomes
        }
        if found == outcomes:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def test_a_notice_is_posted_as_the_page_says() -> None:
    with web_hook() as hook, posting(hook.url) as (webhook, registry):
        webhook.send(notice(not_sent=2))
        wait_for(registry, delivered=1)
    (body,) = hook.bodies
    server = body.pop("server")
    assert set(server) == {"host", "version"}
    assert body == {
        "dimstream_alert": 1, "event": "raised", "rule": "frames_stop", "subject": "s1",
        "text": "frames <stopped> & more", "stream": "s1", "client": "sted", "seq": 41,
        "at": 1000.5, "since": 900.25, "not_sent": 2,
    }  # fmt: skip
    assert hook.headers[0]["Content-Type"] == "application/json"


def test_slack_reads_text_with_its_three_characters_escaped() -> None:
    body = body_of(notice(event="cleared"), "slack")
    assert list(body) == ["text"]
    assert "well again after 2 min: frames &lt;stopped&gt; &amp; more" in body["text"].replace(
        "100 s", "2 min"
    )


def test_teams_reads_a_message_with_one_adaptive_card() -> None:
    body = json.loads(json.dumps(body_of(notice(not_sent=3), "teams")))
    (attachment,) = body["attachments"]
    assert (body["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    title, text = attachment["content"]["body"]
    assert (title["color"], text["wrap"]) == ("attention", True)
    assert text["text"] == "frames <stopped> & more (3 further notices were left out)"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again_and_order_is_kept(status: int) -> None:
    with web_hook() as hook, posting(hook.url, webhook_attempts=3) as (webhook, registry):
        hook.answers = [status, status]
        for text in ("first", "second"):
            webhook.send(notice(text))
        wait_for(registry, delivered=2, failed=0)
    assert [body["text"] for body in hook.bodies] == ["first", "first", "first", "second"]


@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_what_will_not_pass_is_not_tried_again_nor_sent_elsewhere(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with web_hook() as hook, posting(hook.url) as (webhook, registry):
        hook.answers = [status]
        webhook.send(notice())
        wait_for(registry, failed=1, delivered=0)
    assert len(hook.bodies) == 1
    (record,) = [one for one in caplog.records if one.name.startswith("dimstream")]
    assert f"got {status}" in record.getMessage()


def test_attempts_have_an_end() -> None:
    with web_hook() as hook, posting(hook.url, webhook_attempts=3) as (webhook, registry):
        hook.answers = [500] * 10
        webhook.send(notice())
        wait_for(registry, failed=1)
    assert len(hook.bodies) == 3


def secrets_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [EventFormatter().format(record) for record in caplog.records]
    return [line for line in lines if "s3cr3t" in line or "127.0.0.1" in line]


def test_nobody_listens_and_the_address_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        posting(f"http://127.0.0.1:{free_port()}/s3cr3t", webhook_attempts=2) as (webhook, registry),
    ):
        webhook.send(notice())
        wait_for(registry, failed=1)
    assert "ConnectError" in caplog.text
    assert secrets_in(caplog) == []


def test_one_that_hangs_costs_its_own_notices_only(caplog: pytest.LogCaptureFixture) -> None:
    with web_hook() as hook:
        hook.answers = [0]
        with posting(hook.url, webhook_attempts=1, webhook_timeout_s=300) as (webhook, registry):
            webhook.send(notice("hangs"))
            hook.until(lambda bodies: len(bodies) == 1)
            for number in range(MOST_QUEUED + 5):  # none of these waits
                webhook.send(notice(str(number)))
            wait_for(registry, left_out=5, delivered=0)
    assert caplog.text.count("64 notices wait already") == 5


def test_one_that_hangs_is_given_up_and_the_next_notice_goes() -> None:
    with web_hook() as hook:
        hook.answers = [0]
        with posting(hook.url, webhook_attempts=1, webhook_timeout_s=0.3) as (webhook, registry):
            webhook.send(notice("hangs"))
            wait_for(registry, failed=1)
    with web_hook() as other, posting(other.url) as (webhook, registry):
        webhook.send(notice("goes"))
        wait_for(registry, delivered=1)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
