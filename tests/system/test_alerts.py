"""Alerts of a real server: posted to a real web hook, once; a hook that hangs costs the stream nothing."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import browsing
from faults.processes import Server
from shipped import BUNDLE
from web_hooks import WebHook, web_hook

from dimstream_client import Client, Stream

pytestmark = pytest.mark.slow

SIDE = 160
ALERTS = {"silent_s": 2.0, "silent_intervals": 1.0, "suspect_frames": 3, "settle_s": 1.0}


@contextmanager
def serving(folder: Path, hook: WebHook, **alerts: Any) -> Iterator[Server]:
    settings = {"alerts": {**ALERTS, "webhook_url": hook.url, **alerts}}
    with Server(BUNDLE, folder, settings=settings) as server:
        yield server


def send(stream: Stream, movie: Any, count: int, *, blank: bool = False) -> None:
    for _ in range(count):
        frame = movie[stream.next_seq % 16, :SIDE, :SIDE]  # its end is dark
        stream.send(np.zeros_like(frame) if blank else np.ascontiguousarray(frame))
        assert stream.take(timeout_s=60) is not None


def events(bodies: list[dict[str, Any]], rule: str) -> list[str]:
    return [body["event"] for body in bodies if body["rule"] == rule]


def test_a_run_is_told_once_and_that_it_is_well_again(tmp_path: Path, sample: Any) -> None:
    with (
        web_hook() as hook,
        serving(tmp_path, hook) as server,
        Client(server.endpoint, name="sted") as client,
    ):
        stream = client.open((SIDE, SIDE), "uint16")
        send(stream, sample, 3)
        send(stream, sample, 9, blank=True)
        hook.until(lambda bodies: events(bodies, "suspect") == ["raised"])
        send(stream, sample, 20)
        hook.until(lambda bodies: events(bodies, "suspect") == ["raised", "cleared"])
        hook.until(lambda bodies: "raised" in events(bodies, "frames_stop"))
        send(stream, sample, 1)
        hook.until(lambda bodies: "cleared" in events(bodies, "frames_stop"))
        with urllib.request.urlopen(server.http + "/metrics") as answer:
            metrics = answer.read().decode()
        stream.close()
    first = next(body for body in hook.bodies if body["rule"] == "suspect")
    assert (first["client"], first["stream"]) == ("sted", stream.id)
    assert "3 frames in a row are suspect: blank frame" in first["text"]
    assert 'dimstream_alerts_raised_total{rule="suspect"} 1.0' in metrics
    lines = [line for line in metrics.splitlines() if line.startswith("dimstream_alerts")]
    assert 'dimstream_alerts{rule="suspect"} 0.0' in lines
    log = server.log
    assert log.count("event=alert ") == log.count("event=alert_over ") == 2
    assert hook.url not in log
    assert "s3cr3t" not in log


def test_a_hook_that_hangs_costs_the_stream_nothing(tmp_path: Path, sample: Any) -> None:
    with web_hook() as hook, serving(tmp_path, hook, webhook_timeout_s=300.0) as server:
        hook.answers = [0] * 10
        with Client(server.endpoint) as client:
            stream = client.open((SIDE, SIDE), "uint16")
            send(stream, sample, 5, blank=True)
            hook.until(len)
            send(stream, sample, 30)  # each waits for its result
            closed = stream.close()
        assert closed.counts["done"] == 35
        hook.is_over.set()


def test_the_page_says_it_by_title_colour_and_words(tmp_path: Path, sample: Any) -> None:
    with (
        web_hook() as hook,
        serving(tmp_path, hook, silent_s=600.0) as server,
        Client(server.endpoint, name="sted") as client,
        browsing() as page,
    ):
        page.goto(f"{server.http}/live")
        stream = client.open((SIDE, SIDE), "uint16")
        send(stream, sample, 5, blank=True)
        page.wait_for_function("() => document.title.startsWith('! 1 alert · ')")
        assert "3 frames in a row are suspect: blank frame" in page.inner_text("#alerts li")
        colour = "getComputedStyle(document.querySelector('#alerts')).backgroundColor"
        assert page.evaluate(colour) == "rgb(230, 159, 0)"
        assert page.get_attribute("#icon", "href") == "/live/assets/icon-alert.svg"
        page.screenshot(path=tmp_path / "alert.png")
        send(stream, sample, 10)
        page.wait_for_function("() => !document.title.includes('alert')")
        assert page.is_hidden("#alerts")
        stream.close()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "dimstream_server.cli", "alerts", *words]
    return subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_sends_a_test_alert(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    with web_hook() as hook:
        config.write_text(f'[alerts]\nwebhook_url = "{hook.url}"\nwebhook_format = "slack"\n')
        sent = command("--test", "--config", str(config))
        assert (sent.returncode, sent.stdout) == (0, "the web hook accepted the test alert\n")
        assert "this is a test" in hook.bodies[0]["text"]
        hook.answers = [500]
        failed = command("--test", "--config", str(config))
        assert (failed.returncode, "got 500" in failed.stderr) == (1, True)
    listed = command("--config", str(config))
    assert "alerts.suspect_frames = 10" in listed.stdout
    assert "s3cr3t" not in listed.stdout
    without = command("--test")
    assert (without.returncode, "alerts.webhook_url" in without.stderr) == (2, True)
