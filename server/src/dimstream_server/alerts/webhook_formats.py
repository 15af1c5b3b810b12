"""The JSON that a web hook is sent: our own, or what Slack or Teams read."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final

from dimstream_server.alerts.alert import Notice

VERSION: Final = 1
"""Of the body; new members are added without a new version."""
MARKS: Final = {"raised": "Alert", "cleared": "Alert over", "test": "Test"}
COLOURS: Final = {"raised": "attention", "cleared": "good", "test": "accent"}
_CARD: Final = "application/vnd.microsoft.card.adaptive"


def body_of(notice: Notice, form: str) -> dict[str, Any]:
    """Return the body of a notice.

    Parameters
    ----------
    form : str
        The setting `alerts.webhook_format`.
    """
    return _FORMS[form](notice)


def _own(notice: Notice) -> dict[str, Any]:
    server = {"host": socket.gethostname(), "version": version("dimstream-server")}
    return {"dimstream_alert": VERSION, **notice.figures(), "server": server}


def _slack(notice: Notice) -> dict[str, Any]:
    """An incoming web hook's: its text, in which three characters have a meaning of their own."""
    text = notice.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": f"*{_title(notice)}*: {text}{_left_out(notice)}"}


def _teams(notice: Notice) -> dict[str, Any]:
    """A message with one adaptive card, as workflows take it that wait for a web hook."""
    title = {"type": "TextBlock", "text": _title(notice), "weight": "bolder", "color": COLOURS[notice.event]}
    text = {"type": "TextBlock", "text": notice.text + _left_out(notice), "wrap": True}
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [title, text],
    }
    return {"type": "message", "attachments": [{"contentType": _CARD, "contentUrl": None, "content": card}]}


def _title(notice: Notice) -> str:
    return f"dimstream, {MARKS[notice.event].lower()} ({socket.gethostname()})"


def _left_out(notice: Notice) -> str:
    return f" ({notice.not_sent} further notices were left out)" if notice.not_sent else ""


_FORMS: Final[Mapping[str, Callable[[Notice], dict[str, Any]]]] = {
    "dimstream": _own,
    "slack": _slack,
    "teams": _teams,
}
