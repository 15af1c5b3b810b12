import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dimstream_client import messages as m
from dimstream_client.errors import MEANINGS, Code, FrameError, Problem, ProtocolError
from dimstream_client.wire import MAX_HEADER_BYTES, decode, encode

LIMIT = 1_000_000
COUNTS = np.arange(6, dtype=np.uint16).reshape(2, 3)
MODEL = m.Model(id="er", sha256="ab", gain=2.0, offset=-0.5)
THRESHOLDS = m.Thresholds(ssim=0.8, background_max=5, signal_min=25, structure_score=4.5, split=0.5)
MAP = np.array([[0, 1, 2], [6, 12, 13]], np.uint8)
SD = np.array([[0.5, 1, 2], [0.25, 0.125, 4]], np.float32)
QUALITY = m.QualityMetrics(
    structure_score=12.5, unsupported_fraction=0.125, ssim_aligned=0.75, shift_px=(-1, 2), ssim_z=0.5,
    p_signal=0.25, p_dark=0.5, suspect_since=3, notes=("moved", "fading"),
    split=m.SplitResult(t_ms=25.0, ssim=0.625),
)  # fmt: skip
RESULT = m.Result(
    stream="s",
    seq=4,
    status="done",
    flag="suspect",
    reason="below_threshold",
    ssim_prev=0.25,
    compared_seq=3,
    fractions=m.Fractions(0.5, 0.25, 0.25),
    quality=None,
    pixels=COUNTS,
    model_sha256="ab",
    t_ms=m.Times(0.5, 2.0, 3.0),
    device="cpu",
    fallback=None,
    limit=12,
    index=m.PlaneIndex(t=4),
)
MESSAGES = [
    m.Open(client="test", shape=(600, 600), dtype="uint16"),
    m.Open(client="gateway", shape=(6, 6), dtype="uint16", state={"next_seq": 3, "planes": [{"seq": 2}]}),
    m.Open(
        client="µm", shape=(1, 65535), dtype="float32", model="er", mode="latest", axes="TZYX",
        out_dtype="float32", deliver="flags", save=True, codecs=("none", "zlib"), checksum="crc32", window=2,
        pixel_size_um=0.02, frame_interval_s=0.6, channels=("SiR",), maps=True, split_every=10,
        next_result=3, stream="s", resume_token="t", user="u",
    ),
    m.Open(client="camera", shape=(600, 600), dtype="uint16", offset=-100.0, gain=2.2),
    m.Open(
        client="apd", shape=(600, 600), dtype="uint16", pixel_size_um=0.04, match_pixel_size=True
    ),
    m.Open(client="night", shape=(600, 600), dtype="uint16", priority="batch", weight=16, deadline_ms=250.0),
    m.Opened(
        stream="s", resume_token="t", boot_id="b", next_seq=0, limit=8, reference_frames=1, model=MODEL,
        thresholds=THRESHOLDS, max_frame_bytes=LIMIT, lease_s=60.0, window=8,
    ),
    m.Opened(
        stream="s", resume_token="t", boot_id="b", next_seq=0, limit=8, reference_frames=1, model=MODEL,
        thresholds=THRESHOLDS, max_frame_bytes=LIMIT, lease_s=60.0, window=8, offset=100.0, gain=0.5,
    ),
    m.Frame(stream="s", seq=0, pixels=COUNTS),
    m.Frame(
        stream="s", seq=2**53 - 1, pixels=COUNTS.astype(np.float32), index=m.PlaneIndex(1, 2, 3, 4),
        t_acq=1.5, meta={"laser": {"power": 0.5}},
    ),
    m.Skip(stream="s", seq_from=3, seq_to=5, reason="replaced"),
    RESULT,
    replace(
        RESULT, status="failed", flag="unjudged", pixels=None, ssim_prev=None, compared_seq=None,
        fractions=None, reason=None, error=Problem.of(Code.FRAME_FAILED, "out of memory"),
    ),
    replace(RESULT, quality=QUALITY),
    replace(RESULT, quality=QUALITY, support=MAP),
    replace(
        RESULT, pixels=None, support=MAP,
        quality=m.QualityMetrics(
            structure_score=-1, unsupported_fraction=1, split=m.SplitResult(0.5, refused="no counts"),
            forecast=m.Forecast(frames=12.5, earliest=8.0, latest=30.0, minutes=0.125),
        ),
    ),
    m.Credit(stream="s", limit=9),
    m.Ack(stream="s", next_result=5),
    m.Update(stream="s", from_seq=7, thresholds={"ssim": 0.5}),
    m.Update(stream="s", from_seq=7, thresholds={"structure_score": -1e6, "split": -1.0}),
    m.Updated(stream="s", from_seq=7, model=MODEL, thresholds=THRESHOLDS),
    m.Close(stream="s", last_seq=9),
    m.Close(stream="s"),
    m.Closed(stream="s", counts={"done": 10}, files=({"name": "a.ome.tif", "sha256": "ab"},)),
    m.Ping(t=1.25),
    m.Pong(t=1.25, boot_id="b", queue=3),
    m.Error.of(Code.SEQUENCE_GAP, "expected 3", stream="s", seq=5, expected={"seq": 3}),
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.TYPE)
@pytest.mark.parametrize("options", [{}, {"codec": "zlib"}, {"checksum": True}], ids=str)
def test_a_message_survives_the_way_there(message, options):
    parts = [bytes(part) for part in encode(message, **options)]
    arrived = decode(parts, max_payload_bytes=LIMIT)
    assert arrived == message
    for image in ("pixels", "support"):
        sent, come = getattr(message, image, None), getattr(arrived, image, None)
        assert (sent is None) == (come is None)
        if sent is not None:
            np.testing.assert_array_equal(come, sent)
            assert come.dtype == sent.dtype


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.TYPE)
def test_the_same_message_is_always_the_same_bytes(message):
    assert [bytes(p) for p in encode(message)] == [bytes(p) for p in encode(message)]


def test_a_frame_is_these_bytes():
    parts = [bytes(p) for p in encode(m.Frame(stream="s1", seq=7, pixels=COUNTS), checksum=True)]
    assert parts == [
        b"DIM1FRAME",
        b'{"stream":"s1","seq":7,"shape":[2,3],"dtype":"uint16","codec":"none","crc32":2729687952,'
        b'"index":{"t":0,"c":0,"z":0,"p":0},"meta":{}}',
        b"\x00\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00",
    ]


def test_quality_metrics_and_a_map_are_these_bytes():
    message = replace(RESULT, reason=None, ssim_prev=None, fractions=None, quality=QUALITY, support=MAP)
    assert [bytes(p) for p in encode(message, checksum=True)] == [
        b"DIM1RESULT",
        b'{"stream":"s","seq":4,"status":"done","flag":"suspect","compared_seq":3,'
        b'"quality":{"structure_score":12.5,"unsupported_fraction":0.125,"ssim_aligned":0.75,'
        b'"shift_px":[-1,2],"ssim_z":0.5,"p_signal":0.25,"p_dark":0.5,"suspect_since":3,'
        b'"notes":["moved","fading"],"split":{"t_ms":25.0,"ssim":0.625}},"model_sha256":"ab",'
        b'"t_ms":{"queue":0.5,"infer":2.0,"total":3.0},"device":"cpu","shape":[2,3],"dtype":"uint16","codec":"none",'
        b'"crc32":2729687952,"limit":12,"index":{"t":4,"c":0,"z":0,"p":0},"map":{"shape":[2,3],"codec":"none","crc32":4028764059}}',
        b"\x00\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00",
        b"\x00\x01\x02\x06\x0c\x0d",
    ]


def test_a_map_without_pixels_leaves_their_part_empty():
    parts = [bytes(p) for p in encode(replace(RESULT, pixels=None, support=MAP), codec="zlib")]
    assert parts[2] == b""
    assert zlib.decompress(parts[3]) == MAP.tobytes()
    assert '"map":{"shape":[2,3],"codec":"zlib"}' in parts[1].decode()


def test_error_bars_have_a_part_of_their_own_behind_the_map():
    both = encode(replace(RESULT, support=MAP, sd=SD), checksum=True)
    assert [bytes(part) for part in both[3:]] == [MAP.tobytes(), SD.astype("<f4").tobytes()]
    alone = encode(replace(RESULT, pixels=None, sd=SD))
    assert [len(part) for part in alone[2:]] == [0, 0, SD.nbytes]
    assert b'"sd":{"shape":[2,3],"codec":"none"}' in bytes(alone[1])
    for parts, has_map in ((both, True), (alone, False)):
        arrived = decode(parts, max_payload_bytes=LIMIT)
        assert (arrived.support is not None) == has_map
        np.testing.assert_array_equal(arrived.sd, SD)


def test_error_bars_that_do_not_fit_are_refused():
    parts = [bytes(part) for part in encode(replace(RESULT, sd=SD))]
    for damaged, code in (
        (parts[:4], Code.WRONG_SIZE),
        ([*parts[:3], b"x", parts[4]], Code.BAD_HEADER),
        ([*parts[:4], parts[4][:-1]], Code.WRONG_SIZE),
        (
            [parts[0], parts[1].replace(b'"sd":{"shape":[2,3]', b'"sd":{"shape":[3,2]'), *parts[2:]],
            Code.WRONG_SHAPE,
        ),
    ):
        with pytest.raises((ProtocolError, FrameError)) as refused:
            decode(damaged, max_payload_bytes=LIMIT)
        assert (refused.value.code, refused.value.seq) == (code, 4)


def test_a_map_of_another_pixel_type_is_refused_before_it_is_sent():
    with pytest.raises(FrameError, match="expected uint8") as refused:
        encode(replace(RESULT, support=COUNTS))
    assert refused.value.code == Code.WRONG_DTYPE


def test_an_older_result_has_neither_quality_metrics_nor_map():
    arrived = decode(result(map=None, quality=None)[:3], max_payload_bytes=LIMIT)
    assert (arrived.quality, arrived.support) == (None, None)


def test_pixels_are_copied_neither_there_nor_back():
    *_, payload = encode(m.Frame(stream="s", seq=0, pixels=COUNTS))
    assert np.shares_memory(np.frombuffer(payload, np.uint16), COUNTS)
    arrived = decode(
        [b"DIM1FRAME", b'{"stream":"s","seq":0,"shape":[2,3],"dtype":"uint16"}', payload],
        max_payload_bytes=12,
    )
    assert np.shares_memory(arrived.pixels, COUNTS)
    assert not arrived.pixels.flags.writeable


@pytest.mark.parametrize("pixels", [COUNTS.astype(">u2"), np.asfortranarray(COUNTS), COUNTS[::-1, ::2]])
def test_any_memory_layout_travels(pixels):
    parts = encode(m.Frame(stream="s", seq=0, pixels=pixels))
    np.testing.assert_array_equal(decode(parts, max_payload_bytes=LIMIT).pixels, pixels)


def test_unaligned_pixels_arrive_aligned():
    parts = encode(m.Frame(stream="s", seq=0, pixels=COUNTS))
    shifted = memoryview(b"x" + bytes(parts[2]))[1:]
    pixels = decode([*parts[:2], shifted], max_payload_bytes=LIMIT).pixels
    assert pixels.flags.aligned
    np.testing.assert_array_equal(pixels, COUNTS)


FRAME = {"stream": "s", "seq": 3, "shape": [2, 3], "dtype": "uint16", "codec": "none"}
OPEN = {"client": "test", "shape": [2, 3], "dtype": "uint16"}
PAYLOAD = COUNTS.tobytes()


def frame(payload=PAYLOAD, **changes):
    return [b"DIM1FRAME", json.dumps({**FRAME, **changes}).encode(), payload]


def result(*payloads, **changes):
    """A RESULT with a map; without `payloads` those that it should have."""
    parts = [bytes(part) for part in encode(replace(RESULT, quality=QUALITY, support=MAP))]
    header = json.dumps({**json.loads(parts[1]), **changes}).encode()
    return [parts[0], header, *(payloads or parts[2:])]


def quality(**changes):
    kept = {**json.loads(encode(replace(RESULT, quality=QUALITY))[1])["quality"], **changes}
    return result(quality={name: value for name, value in kept.items() if value is not None})


SHAPE = {"shape": [2, 3]}


def opening(**changes):
    return [b"DIM1OPEN", json.dumps({**OPEN, **changes}).encode()]


HOSTILE = {
    "nothing": ([], Code.BAD_MAGIC),
    "one empty part": ([b""], Code.BAD_MAGIC),
    "another protocol": ([b"GET / HTTP/1.1", b"{}"], Code.BAD_MAGIC),
    "another version": ([b"DIM2FRAME", b"{}"], Code.BAD_MAGIC),
    "a type that is not known": ([b"DIM1FLY", b"{}"], Code.UNKNOWN_TYPE),
    "a type that is no text": ([b"DIM1\xff\x00", b"{}"], Code.UNKNOWN_TYPE),
    "an empty type": ([b"DIM1", b"{}"], Code.UNKNOWN_TYPE),
    "no header": ([b"DIM1PING"], Code.BAD_HEADER),
    "four parts": ([b"DIM1PING", b"{}", b"", b""], Code.BAD_HEADER),
    "a payload where none belongs": ([b"DIM1PING", b'{"t":1}', b"x"], Code.BAD_HEADER),
    "no JSON": ([b"DIM1PING", b"{t:1}"], Code.BAD_HEADER),
    "no UTF-8": ([b"DIM1PING", b'{"t":"\xff"}'], Code.BAD_HEADER),
    "a list": ([b"DIM1PING", b"[1]"], Code.BAD_HEADER),
    "NaN": ([b"DIM1PING", b'{"t":NaN}'], Code.BAD_HEADER),
    "a name twice": ([b"DIM1PING", b'{"t":1,"t":2}'], Code.BAD_HEADER),
    "a name twice within": ([b"DIM1PING", b'{"t":1,"later":{"a":1,"a":1}}'], Code.BAD_HEADER),
    "a deep nest": ([b"DIM1PING", b"[" * 60_000], Code.BAD_HEADER),
    "a huge header": ([b"DIM1PING", b" " * (MAX_HEADER_BYTES + 1)], Code.OVERSIZE),
    "a long number": ([b"DIM1PING", b'{"t":' + b"9" * 60_000 + b"}"], {Code.BAD_HEADER, Code.BAD_FIELD}),
    "infinity in disguise": ([b"DIM1PING", b'{"t":1e999}'], Code.BAD_FIELD),
    "a missing field": ([b"DIM1PING", b"{}"], Code.BAD_FIELD),
    "true for a number": ([b"DIM1PING", b'{"t":true}'], Code.BAD_FIELD),
    "a negative seq": (frame(seq=-1), Code.BAD_FIELD),
    "a seq beyond 2^53": (frame(seq=2**53), Code.BAD_FIELD),
    "a fractional seq": (frame(seq=1.5), Code.BAD_FIELD),
    "a surrogate": (frame(stream="\ud800"), Code.BAD_FIELD),
    "no payload": (frame()[:2], Code.WRONG_SIZE),
    "a short payload": (frame(PAYLOAD[:-1]), Code.WRONG_SIZE),
    "a long payload": (frame(PAYLOAD + b"x"), Code.WRONG_SIZE),
    "three axes": (frame(shape=[1, 2, 3]), Code.WRONG_SHAPE),
    "an empty side": (frame(b"", shape=[0, 3]), Code.WRONG_SHAPE),
    "a negative side": (frame(shape=[-2, -3]), Code.WRONG_SHAPE),
    "a declared giant": (frame(shape=[65535, 65535]), Code.OVERSIZE),
    "a sent giant": (frame(bytes(LIMIT + 1)), Code.OVERSIZE),
    "objects": (frame(dtype="object"), Code.WRONG_DTYPE),
    "no dtype": ([b"DIM1FRAME", b'{"stream":"s","seq":3,"shape":[2,3]}', PAYLOAD], Code.WRONG_DTYPE),
    "a codec that is not known": (frame(codec="blosc2"), Code.BAD_CODEC),
    "no zlib stream": (frame(codec="zlib"), Code.BAD_CODEC),
    "a bomb": (frame(zlib.compress(bytes(900_000)), codec="zlib"), Code.WRONG_SIZE),
    "a cut zlib stream": (frame(zlib.compress(PAYLOAD)[:-3], codec="zlib"), Code.BAD_CODEC),
    "a zlib stream and more": (frame(zlib.compress(PAYLOAD) + b"x", codec="zlib"), Code.BAD_CODEC),
    "a wrong checksum": (frame(crc32=1), Code.BAD_CHECKSUM),
    "a checksum that is none": (frame(crc32="x"), Code.BAD_FIELD),
    "meta that is no object": (frame(meta=[1]), Code.BAD_FIELD),
    "a mistyped setting": (opening(pixelsize=0.02), Code.BAD_FIELD),
    "a mode that is not known": (opening(mode="fast"), Code.BAD_FIELD),
    "a window of 0": (opening(window=0), Code.BAD_FIELD),
    "a pixel of no size": (opening(pixel_size_um=0), Code.BAD_FIELD),
    "a stream of int16": (opening(dtype="int16"), Code.WRONG_DTYPE),
    "codecs without none": (opening(codecs=["zlib"]), Code.BAD_CODEC),
    "a mistyped threshold": (
        [b"DIM1UPDATE", b'{"stream":"s","from_seq":0,"thresholds":{"sim":1}}'], Code.BAD_FIELD,
    ),
    "maps that are no boolean": (opening(maps=1), Code.BAD_FIELD),
    "a split of every -1st frame": (opening(split_every=-1), Code.BAD_FIELD),
    "a split of every half frame": (opening(split_every=0.5), Code.BAD_FIELD),
    "photons of no units": (opening(gain=0), Code.BAD_FIELD),
    "photons of negative units": (opening(gain=-2.2), Code.BAD_FIELD),
    "photons of too many units": (opening(gain=2e6), Code.BAD_FIELD),
    "a gain that is no number": (opening(gain="2.2"), Code.BAD_FIELD),
    "a gain that is nan": (
        [b"DIM1OPEN", b'{"client":"t","shape":[2,3],"dtype":"uint8","gain":NaN}'], Code.BAD_HEADER,
    ),
    "an offset without bound": (opening(offset=1e10), Code.BAD_FIELD),
    "an offset that is true": (opening(offset=True), Code.BAD_FIELD),
    "four parts of a frame": ([*frame(), MAP.tobytes()], Code.BAD_HEADER),
    "five parts of a result without error bars": ([*result(), b""], Code.BAD_HEADER),
    "six parts of a result": ([*result(), b"", b""], Code.BAD_HEADER),
    "a map that the header does not name": (result(map=None), Code.BAD_HEADER),
    "a map that did not come": (result(PAYLOAD), Code.WRONG_SIZE),
    "a map and pixels that did not come": (result()[:2], Code.WRONG_SIZE),
    "a map but empty pixels": (result(b"", MAP.tobytes()), Code.WRONG_SIZE),
    "a map but pixels of no shape": (result(shape=None), Code.WRONG_SHAPE),
    "an empty part without a map": (result(b"", map=None, shape=None), Code.WRONG_SHAPE),
    "a map that is no object": (result(map=[2, 3]), Code.BAD_FIELD),
    "a map of no shape": (result(map={}), Code.WRONG_SHAPE),
    "a map of another shape than the pixels": (result(map={"shape": [3, 2]}), Code.WRONG_SHAPE),
    "a short map": (result(PAYLOAD, MAP.tobytes()[:-1]), Code.WRONG_SIZE),
    "a long map": (result(PAYLOAD, MAP.tobytes() + b"x"), Code.WRONG_SIZE),
    "a map of uint16": (result(PAYLOAD, PAYLOAD, map={**SHAPE, "dtype": "uint16"}), Code.WRONG_SIZE),
    "a declared giant of a map": (result(map={"shape": [65535, 65535]}), Code.OVERSIZE),
    "a map with a wrong checksum": (result(map={**SHAPE, "crc32": 1}), Code.BAD_CHECKSUM),
    "a map packed by a codec that is not known": (result(map={**SHAPE, "codec": "lz4"}), Code.BAD_CODEC),
    "a map that is not a zlib stream": (result(map={**SHAPE, "codec": "zlib"}), Code.BAD_CODEC),
    "a map that is a bomb": (
        result(PAYLOAD, zlib.compress(bytes(900_000)), map={**SHAPE, "codec": "zlib"}), Code.WRONG_SIZE,
    ),
    "quality that is no object": (result(quality=[1]), Code.BAD_FIELD),
    "quality without its structure": (quality(structure_score=None), Code.BAD_FIELD),
    "quality of more than all": (quality(unsupported_fraction=1.01), Code.BAD_FIELD),
    "quality of an SSIM of 2": (quality(ssim_aligned=2), Code.BAD_FIELD),
    "quality in depth of an SSIM of -2": (quality(ssim_z=-2), Code.BAD_FIELD),
    "quality of less than chance": (quality(p_signal=-0.1), Code.BAD_FIELD),
    "a shift along one axis": (quality(shift_px=[1]), Code.BAD_FIELD),
    "a shift by half a pixel": (quality(shift_px=[0.5, 1]), Code.BAD_FIELD),
    "a shift beyond any frame": (quality(shift_px=[0, -65536]), Code.BAD_FIELD),
    "suspect since before the start": (quality(suspect_since=-1), Code.BAD_FIELD),
    "notes that are no list": (quality(notes="moved"), Code.BAD_FIELD),
    "notes that are numbers": (quality(notes=[1]), Code.BAD_FIELD),
    "a split without its time": (quality(split={"ssim": 0.5}), Code.BAD_FIELD),
    "a split before it was asked": (quality(split={"t_ms": -1}), Code.BAD_FIELD),
    "a split of an SSIM of 2": (quality(split={"t_ms": 1, "ssim": 2}), Code.BAD_FIELD),
    "a split threshold of 2": (
        [b"DIM1UPDATE", b'{"stream":"s","from_seq":0,"thresholds":{"split":2}}'], Code.BAD_FIELD,
    ),
    "a hole that ends before it starts": (
        [b"DIM1SKIP", b'{"stream":"s","seq_from":3,"seq_to":2,"reason":""}'], Code.BAD_FIELD,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_bytes_that_are_not_dim1_are_refused_by_code(parts, code):
    with pytest.raises(ProtocolError) as refused:
        decode(parts, max_payload_bytes=LIMIT)
    assert refused.value.code in (code if isinstance(code, set) else {code})
    assert refused.value.problem.code == refused.value.code


def test_a_refusal_names_stream_and_seq():
    with pytest.raises(FrameError) as refused:
        decode(frame(PAYLOAD[:-1]), max_payload_bytes=LIMIT)
    assert (refused.value.stream, refused.value.seq) == ("s", 3)
    assert refused.value.expected == {"bytes": 12}


def test_header_fields_of_a_later_version_are_passed_over():
    assert decode(frame(exposure_ms=5), max_payload_bytes=LIMIT).seq == 3
    assert decode(quality(mood="bright"), max_payload_bytes=LIMIT).quality == QUALITY


def test_an_ssim_that_rounding_led_beyond_1_is_taken():
    parts = quality(ssim_aligned=1.0000005, split={"t_ms": 1, "ssim": -1.0000005})
    assert decode(parts, max_payload_bytes=LIMIT).quality.split.ssim == -1.0000005


def test_a_map_is_not_copied():
    parts = encode(replace(RESULT, support=MAP))
    arrived = decode(parts, max_payload_bytes=LIMIT).support
    assert np.shares_memory(arrived, MAP)
    assert not arrived.flags.writeable


@pytest.mark.parametrize(
    ("pixels", "code"),
    [
        (COUNTS.astype(np.int16), Code.WRONG_DTYPE),
        (COUNTS.astype(object), Code.WRONG_DTYPE),
        (COUNTS[0], Code.WRONG_SHAPE),
        (COUNTS[:0], Code.WRONG_SHAPE),
    ],
)
def test_pixels_that_cannot_travel_are_refused_before_they_are_sent(pixels, code):
    with pytest.raises(FrameError) as refused:
        encode(m.Frame(stream="s", seq=0, pixels=pixels))
    assert refused.value.code == code


def test_meta_that_json_cannot_hold_is_refused():
    for meta in ({"x": float("nan")}, {"x": object()}, {"x": "y" * MAX_HEADER_BYTES}):
        with pytest.raises(ProtocolError):
            encode(m.Frame(stream="s", seq=0, pixels=COUNTS, meta=meta))


NAMES = [message.TYPE.encode() for message in MESSAGES]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "stream",
    "seq",
    "shape",
    "dtype",
    "codec",
    "crc32",
    "index",
    "meta",
    "model",
    "t",
    "limit",
    "files",
    "quality",
    "map",
]


@st.composite
def damaged(draw):
    """Parts of a good message in which some fields and bytes were exchanged."""
    parts = [bytes(part) for part in encode(draw(st.sampled_from(MESSAGES)))]
    header = json.loads(parts[1])
    header.update(draw(st.dictionaries(st.sampled_from([*FIELDS, *header]), JSON, max_size=3)))
    parts[1] = json.dumps(header).encode()
    parts = draw(st.sampled_from([parts, parts[:2], [*parts, draw(st.binary(max_size=20))]]))
    spot = draw(st.integers(0, len(parts) - 1))
    if draw(st.booleans()):
        parts[spot] = parts[spot][: draw(st.integers(0, len(parts[spot])))] + draw(st.binary(max_size=3))
    return parts


@settings(max_examples=6 * settings.default.max_examples, suppress_health_check=[HealthCheck.too_slow])
@given(
    damaged() | st.lists(st.binary(max_size=40) | st.sampled_from([b"DIM1" + n for n in NAMES]), max_size=4)
)
def test_hostile_bytes_raise_nothing_but_protocol_errors(parts):
    try:
        message = decode(parts, max_payload_bytes=LIMIT)
    except ProtocolError as refused:
        refused.problem.detail.encode()
        encode(m.Error(**vars(refused.problem)))
    else:
        encode(message)


def test_every_code_has_its_meaning():
    own = {value for name, value in vars(Code).items() if name.isupper()}
    of_the_client = {Code.CONNECTION_LOST, Code.TIMEOUT, Code.BAD_KEY_FILE, Code.BAD_SPOOL, Code.SPOOL_FULL}
    assert own - set(MEANINGS) == of_the_client
    assert set(MEANINGS) <= own
