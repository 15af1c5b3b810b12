"""The log: one line an event, the same fields as text and as JSON, and every event in docs/operations.md."""

import ast
import io
import json
import logging
import shlex
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dimstream_server.monitoring.logs import EventFormatter, set_up_logging, template_fields

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "server" / "src" / "dimstream_server"
PAGE = ROOT / "docs" / "operations.md"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
RESERVED = {"time", "level", "event", "msg", "logger", "error", "trace"}


def said(form: Any, template: str, *arguments: Any, exc_info: Any = None) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(EventFormatter(form))
    record = logging.LogRecord("a.b", logging.INFO, __file__, 1, template, arguments, exc_info)
    handler.emit(record)
    return stream.getvalue()


def as_dict(text: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(text))


HOSTILE = 'x" event=opened endpoint=zmq\ntime=2026 \x1b[31m\u2028'


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("value", [HOSTILE, "", " ", "a=b", "ü", "\\", "–" * 9])
def test_a_value_stays_one_value_on_one_line(form: Any, value: str) -> None:
    line = said(form, "refused event=refused endpoint=zmq stream=%r seq=%s", value, 3)
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    if form == "json":
        found = json.loads(line)
        assert (found["event"], found["stream"], found["seq"]) == ("refused", value, 3)
    else:
        head, _, rest = line.partition(" stream=")
        assert head.count("event=") == 1
        bare = rest.removesuffix(" seq=3\n")
        assert (json.loads(bare) if bare.startswith('"') else bare) == value


def test_head_and_fields_stand_in_a_fixed_order() -> None:
    text = said("text", "stopped early event=stopped complete=%s counts=%s", True, {"done": 2})
    fields = as_dict(text)
    assert list(fields) == ["time", "level", "event", "msg", "complete", "counts"]
    assert (fields["level"], fields["event"], fields["msg"]) == ("info", "stopped", "stopped early")
    assert fields["complete"] == "true"
    assert json.loads(fields["counts"]) == {"done": 2}
    assert list(json.loads(said("json", "x event=stopped a=%s", 1))) == ["time", "level", "event", "msg", "a"]


def test_pixels_and_keys_are_told_by_their_kind_only() -> None:
    line = said("json", "x event=x a=%s b=%s c=%s d=%s", np.full(5, 77), b"secret", memoryview(b"k"), [b"z"])
    fields = json.loads(line)
    assert [fields[name] for name in "abcd"] == ["<ndarray>", "<bytes>", "<memoryview>", ["<bytes>"]]
    assert len(said("json", "x event=x a=%s", "y" * 10_000)) < 1000


def test_numbers_are_numbers_and_what_is_not_finite_is_a_text() -> None:
    line = said("json", "x event=x a=%d b=%s c=%s d=%.1f", np.int64(3), float("nan"), None, 0.125)
    fields = json.loads(line)
    assert [fields[name] for name in "abcd"] == [3, "nan", None, 0.125]


def test_a_traceback_is_a_field_of_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        line = said("text", "failed event=internal_error path=%r", "/x", exc_info=sys.exc_info())
    assert len(line.splitlines()) == 1
    assert 'error="ValueError: two\\nlines"' in line
    assert 'trace="Traceback' in line


def test_what_libraries_say_is_an_event_too() -> None:
    fields = json.loads(said("json", "Invalid HTTP %s\nreceived", "request"))
    assert fields["event"] == "log"
    assert (fields["logger"], fields["msg"]) == ("a.b", "Invalid HTTP request\nreceived")


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, threading.excepthook
    yield root
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    threading.excepthook = hook


def test_a_thread_that_dies_is_one_line(root_logger: Any, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "json")

    def die() -> None:
        raise RuntimeError("the device is gone")

    thread = threading.Thread(target=die, name="doomed")
    thread.start()
    thread.join()
    (line,) = capsys.readouterr().err.splitlines()
    fields = json.loads(line)
    assert (fields["level"], fields["event"], fields["thread"]) == ("critical", "thread_died", "doomed")
    assert fields["error"] == "RuntimeError: the device is gone"


def calls() -> Iterator[tuple[str, str, str]]:
    """Place, level and template of every call of a logger in the server."""
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            name = getattr(node.func.value, "id", "")
            if name.endswith("log") and node.func.attr in {*LEVELS, "log"}:
                assert node.func.attr != "log", (
                    f"{path.name}:{node.lineno}: the level is told by the call's name"
                )
                template = getattr(node.args[0], "value", "")
                yield f"{path.name}:{node.lineno}", node.func.attr.replace("exception", "error"), template


def told() -> dict[str, tuple[set[str], set[str]]]:
    """Levels and fields of each event in the page's table."""
    rows = [line.strip("| ").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    table = [[cell.strip() for cell in row] for row in rows if len(row) == 4 and row[0].startswith("`")]
    return {
        name.strip("`"): (
            set(levels.split(", ")),
            {field.strip("`") for field in fields.split(", ") if field},
        )
        for name, levels, fields, _ in table
    }


def test_every_call_names_an_event_and_no_reserved_field() -> None:
    for place, _, template in calls():
        found = template_fields(template)
        assert found is not None, f"{place}: expected 'words event=name key=%s', got {template!r}"
        assert not {name for name, _ in found[1]} & RESERVED, place


def test_the_page_lists_the_events_their_levels_and_fields() -> None:
    known: dict[str, tuple[set[str], set[str]]] = {"log": (LEVELS - {"exception"}, {"logger"})}
    for _, level, template in calls():
        event, fields = template_fields(template) or ("", [])
        levels, names = known.setdefault(event, (set(), set()))
        levels.add(level)
        names.update(name for name, _ in fields)
    assert told() == known
