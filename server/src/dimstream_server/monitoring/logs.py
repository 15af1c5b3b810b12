"""The log: one line per event on stderr, as text (logfmt) or JSON, with the same fields in the same order.

::

    time=2026-11-25T09:30:00.125Z level=info event=opened msg=opened endpoint=zmq stream=6a2f window=8
    {"time": "2026-11-25T09:30:00.125Z", "level": "info", "event": "opened", "msg": "opened", "endpoint": …}

Code logs an event through `logging`, with a text, a name and fields::

    _log.info("disconnected event=peer_gone endpoint=zmq stream=%s next_seq=%d", stream.id, stream.next_seq)

The fields are taken from the template and their values from its arguments. So every value is quoted, and
cannot become a second line or another field. A record without ``event=`` is from a library: event ``log``.
Pixels and keys cannot be logged by accident: only the type of bytes and arrays is written, and long texts are
cut. ``docs/operations.md`` lists the events; a test compares it with the code.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any, Final, Literal

LogFormat = Literal["text", "json"]
LONGEST_TEXT: Final = 500
LONGEST_TRACE: Final = 8000
_LISTED: Final = 16  # most elements of a sequence
_EVENT: Final = re.compile(r"([^%=]*)\bevent=([a-z_]+)((?:\s\w+=\S+)*)")
_FIELD: Final = re.compile(r"(\w+)=(\S+)")
_HOLE: Final = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[a-z]")
_BARE: Final = re.compile(r"[^\s\"=\\\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_log = logging.getLogger(__name__)

Plain = str | int | float | bool | None
Field = Plain | list[Plain] | dict[str, Plain]


class EventFormatter(logging.Formatter):
    """Formats a record as one line.

    Parameters
    ----------
    form : "text" or "json"
    """

    def __init__(self, form: LogFormat = "text") -> None:
        super().__init__()
        self._write = _as_text if form == "text" else _as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, with its traceback as a field."""
        return self._write({**_head(record), **dict(_fields(record)), **dict(_failure(record))})


def set_up_logging(level: str, form: LogFormat) -> None:
    """Log to stderr from now on, including messages of libraries, warnings and dying threads."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    for name in ("httpx", "httpcore"):  # they log the addresses of web hooks, which are secret
        logging.getLogger(name).setLevel(logging.WARNING)
    threading.excepthook = _thread_died


def template_fields(template: str) -> tuple[str, list[tuple[str, str]]] | None:
    """Return the event, and (field, value or %-placeholder) pairs, of a message template; None without an
    event."""
    match = _EVENT.fullmatch(template)
    return None if match is None else (match[2], _FIELD.findall(match[3]))


def _head(record: logging.LogRecord) -> dict[str, Field]:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    head: dict[str, Field] = {
        "time": f"{seconds}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
    }
    template = record.msg if isinstance(record.msg, str) else ""
    stated = template_fields(template)
    if stated is None:
        return {**head, "event": "log", "msg": _plain(record.getMessage()), "logger": record.name}
    words = template[: template.rindex("event=")].strip()
    return {**head, "event": stated[0], "msg": words or stated[0]}


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Field]]:
    stated = template_fields(record.msg) if isinstance(record.msg, str) else None
    if stated is None:
        return
    arguments = iter((record.args,) if isinstance(record.args, Mapping) else record.args or ())
    for name, value in stated[1]:
        if not _HOLE.fullmatch(value):
            yield name, value
        else:
            yield name, _plain(next(arguments, "?"))


def _failure(record: logging.LogRecord) -> Iterator[tuple[str, Field]]:
    if not record.exc_info or record.exc_info[1] is None:
        return
    error = record.exc_info[1]
    yield "error", _cut(f"{type(error).__name__}: {error}", LONGEST_TEXT)
    trace = "".join(traceback.format_exception(error))
    yield "trace", trace[-LONGEST_TRACE:]


def _plain(value: object) -> Field:
    """Return the value as it is logged: numbers and text, or only the type of other values."""
    if isinstance(value, Mapping):
        return {str(key): _scalar(one) for key, one in list(value.items())[:_LISTED]}
    if isinstance(value, list | tuple):
        return [_scalar(one) for one in value[:_LISTED]]
    return _scalar(value)


def _scalar(value: object) -> Plain:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Integral):  # numpy's
        return int(value)
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "__array__"):
        return f"<{type(value).__name__}>"
    return _cut(str(value), LONGEST_TEXT)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"


def _as_json(fields: Mapping[str, Field]) -> str:
    return json.dumps(fields)


def _as_text(fields: Mapping[str, Field]) -> str:
    return " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())


def _quoted(value: Field) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)


def _thread_died(stated: threading.ExceptHookArgs) -> None:
    if stated.exc_value is None or issubclass(stated.exc_type, SystemExit):
        return
    name = None if stated.thread is None else stated.thread.name
    failure: Any = (stated.exc_type, stated.exc_value, stated.exc_traceback)
    _log.critical("a thread died event=thread_died thread=%s", name, exc_info=failure)
