"""`docs/wire-protocol.md` is what the code does: its examples byte for byte, its tables name for name."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from dimstream_client import messages
from dimstream_client.errors import MEANINGS, Problem, ProtocolError
from dimstream_client.wire import decode, encode

PAGE = (Path(__file__).parents[2] / "docs" / "wire-protocol.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```dim1 ?(.*?)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TYPES = [
    "OPEN", "OPENED", "FRAME", "SKIP", "RESULT", "CREDIT", "ACK", "UPDATE", "UPDATED", "CLOSE", "CLOSED",
    "PING", "PONG", "ERROR",
]  # fmt: skip
MEMBERS = (
    *(messages.QualityMetrics, messages.SplitResult, messages.Forecast),
    *(messages.Fractions, messages.Times),
)
MAX_FRAME_BYTES = 134_217_728


def parts_of(block):
    kind, header, *payload = block.splitlines()
    return [kind.encode(), header.encode(), *(bytes.fromhex(line.removeprefix("hex")) for line in payload)]


EXACT = [parts_of(block) for tag, block in BLOCKS if not tag]
READ = [parts_of(block) for tag, block in BLOCKS if tag == "read"]
REFUSED = [
    (tag.removeprefix("refused "), parts_of(block)) for tag, block in BLOCKS if tag.startswith("refused")
]


def name_of(parts):
    return parts[0].decode().removeprefix("DIM1")


@pytest.mark.parametrize("parts", EXACT, ids=name_of)
def test_an_example_is_read_and_written_again_byte_for_byte(parts):
    message = decode(parts, max_payload_bytes=MAX_FRAME_BYTES)
    assert name_of(parts) == message.TYPE
    written = encode(message, checksum="crc32" in json.loads(parts[1]))
    assert [bytes(part) for part in written] == parts


@pytest.mark.parametrize("parts", READ, ids=name_of)
def test_an_example_of_another_writer_is_read(parts):
    frame = decode(parts, max_payload_bytes=MAX_FRAME_BYTES)
    assert frame.pixels.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(("code", "parts"), REFUSED, ids=[code for code, _ in REFUSED])
def test_an_example_of_a_refusal_is_refused_with_its_code(code, parts):
    with pytest.raises(ProtocolError) as refused:
        decode(parts, max_payload_bytes=MAX_FRAME_BYTES)
    assert refused.value.code == code


def test_every_type_has_an_example():
    assert {name_of(parts) for parts in EXACT} == set(TYPES)
    assert READ
    assert len(BLOCKS) == len(EXACT) + len(READ) + len(REFUSED)


@pytest.mark.parametrize("name", TYPES)
def test_every_field_of_a_message_is_described(name):
    section = re.search(rf"^### [^\n]*\b{name}\b.*?(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
    described = set(re.findall(r"`(\w+)`", section.group(0)))
    names = {f.name for f in fields(getattr(messages, name.capitalize()))} - {"pixels", "support"}
    if name in ("FRAME", "RESULT"):
        names |= {"shape", "dtype", "codec", "crc32"}
    if name == "RESULT":
        names |= {"map"} | {f.name for kind in MEMBERS for f in fields(kind)}
    assert names <= described


def test_every_code_is_described_as_it_is():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (yes|no) \| ([^|]+) \| [^|]+ \|$", PAGE, re.MULTILINE)
    described = {code: (title, int(status), retryable == "yes") for code, status, retryable, title in rows}
    assert described == {code: tuple(meaning) for code, meaning in MEANINGS.items()}


def test_an_error_is_a_problem():
    assert {f.name for f in fields(messages.Error)} == {f.name for f in fields(Problem)}
