"""The log: one line an event on stderr, as text (logfmt) or JSON, with the same fields in the same order.

::

    time=2026-11-25T09:30:00.125Z level=info event=opened msg=opened endpoint=zmq stream=6a2f window=8
    {"time": "2026-11-25T09:30:00.125Z", "level": "info", "event": "opened", "msg": "opened", "endpoint": …}

Code tells an event through `logging`, in words, a name and fields::

    _log.info("disconnected event=peer_gone endpoint=zmq stream=%s next_seq=%d", stream.id, stream.next_seq)

The fields are read from the template and their values from its arguments, so that a value is quoted whatever
it holds and never becomes a second line or another field. A record without ``event=`` is a library's: event
``log``. Pixels and keys cannot get in by accident: of bytes and arrays only the kind is written, and long
texts are cut. ``docs/operations.md`` lists the events; a test compares it with the code.
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
_LISTED: Final = 16  # elements of a sequence
_EVENT: Final = re.compile(r"([^%=]*)\bevent=([a-z_]+)((?:\s\w+=\S+)*)")
_FIELD: Final = re.compile(r"(\w+)=(\S+)")
_HOLE: Final = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[a-z]")
_BARE: Final = re.compile(r"[^\s\"=\\\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_log = logging.getLogger(__name__)

Plain = str | int | float | bool | None
Field = Plain | list[Plain] | dict[str, Plain]


class EventFormatter(logging.Formatter):
    """Writes a record as one line.

    Parameters
    ----------
    form : "text" or "json"
    """

    def __init__(self, form: LogFormat = "text") -> None:
        super().__init__()
        self._write = _as_text if form == "text" else _as_json

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, its traceback in it as a field."""
        return self._write({**_head(record), **dict(_fields(record)), **dict(_failure(record))})


def set_up_logging(level: str, form: LogFormat) -> None:
    """Log to stderr from now on, what libraries, warnings and dying threads say included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    for name in ("httpx", "httpcore"):  # they log the addresses of web hooks, which are secrets
        logging.getLogger(name).setLevel(logging.WARNING)
    threading.excepthook = _thread_died


def template_fields(template: str) -> tuple[str, list[tuple[str, str]]] | None:
    """Event and (field, value or %-hole) of a message template; None when it names no event."""
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
    """The value as it may stand in a log: what is no number or text is told by its kind."""
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
