"""``dimstream-server alerts``: the rules for alerts; with ``--test``, a test alert to the web hook."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dimstream_server.settings import AlertsTable, Settings

NO_WEBHOOK: Final = (
    "expected alerts.webhook_url in the settings, got none: name a file of settings that has it by --config"
)


def add_alerts(commands: Any, load: Callable[[Path | None], Settings]) -> None:
    """Add the command.

    Parameters
    ----------
    load : callable
        Reads a file of settings.
    """
    parser = commands.add_parser(
        "alerts",
        help="send a test alert, or list the rules for alerts",
        description="List the rules that a file of settings has for alerts, and their limits. With --test, "
        "post a test alert to its web hook once.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="file of settings")
    parser.add_argument("--test", action="store_true", help="post a test alert to the web hook")
    parser.set_defaults(run=lambda arguments: _run(load(arguments.config).alerts, test=arguments.test))


def _run(settings: AlertsTable, *, test: bool) -> int:
    if test:
        return _send_test(settings)
    for name, value in settings.model_dump().items():
        shown = "not shown" if name == "webhook_url" and value is not None else value
        print(f"alerts.{name} = {shown}")
    return 0


def _send_test(settings: AlertsTable) -> int:
    # Only here: listing needs no HTTP client.
    from dimstream_server.alerts.alert import Finding, Notice
    from dimstream_server.alerts.webhook import WebhookFailed, post

    if settings.webhook_url is None:
        print(f"dimstream-server: {NO_WEBHOOK}", file=sys.stderr)
        return 2
    now = time.time()
    text = "this is a test: alerts of this server arrive here"
    finding = Finding(rule="not_ready", subject="test", text=text)
    try:
        post(Notice(event="test", finding=finding, at=now, since=now), settings)
    except WebhookFailed as error:
        print(f"the web hook did not accept the test alert: {error}", file=sys.stderr)
        return 1
    print("the web hook accepted the test alert")
    return 0
