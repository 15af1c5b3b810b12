"""Strangers' messages: nothing but ProtocolError leaves `decode`, and little memory is taken."""

import json
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimstream_client import header_checks as checks
from dimstream_client.errors import FrameError, ProtocolError
from dimstream_client.headers import HEADERS, REQUIRED
from dimstream_client.wire import decode, encode

LIMIT = 2**20
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(0, checks.MAX_INTEGER)
NUMBERS = st.floats(-1e299, 1e299)
SSIMS, SHARES = st.floats(-1, 1), st.floats(0, 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
FREE = st.dictionaries(TEXTS, JSON, max_size=3)


def members(required: dict[str, Any], optional: dict[str, Any] | None = None) -> Any:
    return st.fixed_dictionaries(required, optional=optional or {})


MODEL = members({"id": TEXTS, "sha256": TEXTS}, {"gain": NUMBERS, "offset": NUMBERS})
THRESHOLDS = members(
    {},
    {
        "ssim": SSIMS,
        "background_max": NUMBERS,
        "signal_min": NUMBERS,
        "structure_score": NUMBERS,
        "split": SSIMS,
    },
)
SPLIT = members({"t_ms": st.floats(0, 1e9)}, {"ssim": SSIMS, "refused": TEXTS})
PROBLEM = {
    "type": TEXTS, "title": TEXTS, "status": COUNTS, "detail": TEXTS, "code": TEXTS,
    "retryable": st.booleans(),
}  # fmt: skip
QUALITY = members(
    {"structure_score": NUMBERS, "unsupported_fraction": SHARES},
    {
        "ssim_aligned": SSIMS, "shift_px": st.lists(st.integers(-65535, 65535), min_size=2, max_size=2),
        "ssim_z": SSIMS, "p_signal": SHARES, "p_dark": SHARES, "suspect_since": COUNTS,
        "notes": st.lists(TEXTS, max_size=4), "split": SPLIT,
    },
)  # fmt: skip
VALUES: dict[Any, Any] = {
    checks.text: TEXTS,
    checks.detail: TEXTS,
    checks.count: COUNTS,
    checks.boolean: st.booleans(),
    checks.number: NUMBERS,
    checks.ssim: SSIMS,
    checks.positive: st.floats(0, 1e299, exclude_min=True),
    checks.offset: st.floats(-checks.MAX_OFFSET, checks.MAX_OFFSET),
    checks.gain: st.floats(checks.MIN_GAIN, checks.MAX_GAIN),
    checks.window: st.integers(1, 1024),
    checks.shape: st.lists(st.integers(1, 65535), min_size=2, max_size=2),
    checks.dtype: st.sampled_from(checks.DTYPES),
    checks.out_dtype: st.sampled_from(["uint16", "float32"]),
    checks.codec: st.sampled_from(checks.CODECS),
    checks.codecs: st.lists(TEXTS, max_size=4).map(lambda names: [*names, "none"]),
    checks.checksum: st.sampled_from(checks.CHECKSUMS),
    checks.texts: st.lists(TEXTS, max_size=5),
    checks.free: FREE,
    checks.seqs: st.lists(COUNTS, max_size=5),
    checks.counts: st.dictionaries(TEXTS, COUNTS, max_size=4),
    checks.files: st.lists(FREE, max_size=3),
    checks.plane_index: members(dict.fromkeys("tczp", COUNTS)),
    checks.model: MODEL,
    checks.thresholds: THRESHOLDS,
    checks.new_thresholds: THRESHOLDS,
    HEADERS["RESULT"]["fractions"]: members(dict.fromkeys(("background", "uncertain", "signal"), SHARES)),
    HEADERS["RESULT"]["t_ms"]: members(dict.fromkeys(("queue", "infer", "total"), NUMBERS)),
    HEADERS["RESULT"]["quality"]: QUALITY,
    checks.problem: members(PROBLEM, {"stream": TEXTS, "seq": COUNTS, "expected": FREE}),
    checks.weight: st.integers(1, checks.MAX_WEIGHT),
    HEADERS["OPEN"]["priority"]: st.sampled_from(["live", "batch"]),
    HEADERS["OPEN"]["mode"]: st.sampled_from(["lossless", "latest"]),
    HEADERS["OPEN"]["deliver"]: st.sampled_from(["result", "flags"]),
    HEADERS["RESULT"]["status"]: st.sampled_from(["done", "failed"]),
    HEADERS["RESULT"]["flag"]: st.sampled_from(["ok", "suspect", "unjudged"]),
}


@st.composite
def valid(draw: st.DrawFn, name: str) -> tuple[dict[str, Any], list[bytes]]:
    """Header and payloads of a message of this TYPE."""
    known = {key: VALUES[check] for key, check in HEADERS[name].items()}
    required = {key: known.pop(key) for key in REQUIRED[name]}
    header = draw(members(required, known))
    if name == "SKIP":
        header["seq_to"] = max(header["seq_to"], header["seq_from"])
    payloads = []
    if name == "FRAME" or (name == "RESULT" and draw(st.booleans())):
        layout, payload = draw(images())
        header.update(layout)
        payloads.append(payload)
    return header, payloads


@st.composite
def images(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    dtype = draw(st.sampled_from(checks.DTYPES))
    payload = np.arange(height * width).astype(dtype).tobytes()
    codec = draw(st.sampled_from(checks.CODECS))
    if codec == "zlib":
        payload = zlib.compress(payload)
    layout = {"shape": [height, width], "dtype": dtype, "codec": codec}
    if draw(st.booleans()):
        layout["crc32"] = zlib.crc32(payload)
    return layout, payload


def parts_of(name: str, header: Any, payloads: list[bytes]) -> list[bytes]:
    return [b"DIM1" + name.encode(), json.dumps(header).encode(), *payloads]


@pytest.mark.parametrize("name", HEADERS)
@given(data=st.data())
def test_every_valid_message_survives_the_way_there_and_back(name: str, data: st.DataObject) -> None:
    header, payloads = data.draw(valid(name))
    message = decode(parts_of(name, header, payloads), max_payload_bytes=LIMIT)
    again = decode([bytes(part) for part in encode(message)], max_payload_bytes=LIMIT)
    assert again == message
    if payloads:
        np.testing.assert_array_equal(again.pixels, message.pixels)


@st.composite
def exchanged(draw: st.DrawFn, value: Any) -> Any:
    """The same JSON with one value, somewhere inside, exchanged or taken out."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        rest = {name: item for name, item in value.items() if name != key}
        return rest if draw(st.integers(0, 3)) == 0 else {**rest, key: draw(exchanged(value[key]))}
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(exchanged(value[place])), *value[place + 1 :]]
    return draw(JSON | st.sampled_from([2**53, -1, 10**400, "x" * 1025, "\ud800", [[]] * 100]))


@pytest.mark.parametrize("name", HEADERS)
@given(data=st.data())
def test_a_message_with_another_value_inside_is_refused_or_read(name: str, data: st.DataObject) -> None:
    header, payloads = data.draw(valid(name))
    payloads += data.draw(st.lists(st.binary(max_size=20), max_size=2))
    parts = parts_of(name, data.draw(exchanged(header)), payloads)
    try:
        message = decode(parts, max_payload_bytes=LIMIT)
    except ProtocolError as error:
        check_refusal(error)
    else:
        assert decode([bytes(part) for part in encode(message)], max_payload_bytes=LIMIT) == message


def check_refusal(error: ProtocolError) -> None:
    """A refusal can be told: it has a meaning, is one line, and fits a header."""
    assert error.problem.status >= 400
    assert error.detail.isprintable()
    assert len(error.detail) < 2000


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"DIM1" + name.encode() for name in HEADERS]), max_size=6
    )
)
def test_any_parts_are_refused_or_read(parts: list[bytes]) -> None:
    try:
        decode(parts, max_payload_bytes=LIMIT)
    except ProtocolError as error:
        check_refusal(error)


def test_a_header_nested_to_any_depth_is_refused() -> None:
    """Just below the depth that cannot be decoded is one that cannot be shown in the refusal."""
    for depth in (20, 100, *range(880, 1000), 2_000, 30_000):
        header = b'{"t":' + b"[" * depth + b"]" * depth + b"}"
        with pytest.raises(ProtocolError) as refused:
            decode([b"DIM1PING", header], max_payload_bytes=LIMIT)
        check_refusal(refused.value)


def test_a_header_of_repeated_names_is_refused() -> None:
    header = b"{" + b",".join(b'"%04d":0' % (n % 6000) for n in range(7000)) + b"}"
    with pytest.raises(ProtocolError, match="appears twice in one object"):
        decode([b"DIM1PING", header], max_payload_bytes=LIMIT)


BOMBS = {
    "unpacks to more than it declares": ([8, 8], 2**26),
    "declares more than is taken": ([60_000, 60_000], 2**26),
    "declares much and holds little": ([512, 2048], 10),
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_zlib_bomb_takes_no_more_memory_than_is_taken(case: str) -> None:
    shape, unpacked_bytes = BOMBS[case]
    payload = zlib.compress(bytes(unpacked_bytes), 9)
    header = {"stream": "s", "seq": 0, "shape": shape, "dtype": "uint8", "codec": "zlib"}
    parts = parts_of("FRAME", header, [payload])
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            decode(parts, max_payload_bytes=LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 3 * LIMIT
    finally:
        tracemalloc.stop()
