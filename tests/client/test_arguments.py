"""What programs have in hand: taken, or refused in the call with nothing changed."""

import datetime as dt
import decimal
import enum
import fractions
import inspect
import os
import pathlib
import re
import time
from dataclasses import fields
from types import MappingProxyType

import numpy as np
import pytest

import dimstream_client
from dimstream_client import ArgumentError, Client, FrameError, PlaneIndex, Thresholds
from dimstream_client.errors import Code, DimstreamError
from dimstream_client.messages import Open

SHAPE = (12, 16)
FRAME = np.arange(192, dtype=np.uint16).reshape(SHAPE)


class Axis(str, enum.Enum):  # noqa: UP042 - as Python 3.9 has it
    """The axes of acquisition programs are often such members."""

    TIME = "t"
    DEPTH = "z"


class Mode(enum.Enum):
    NEWEST = "latest"


class Wavelength(enum.IntEnum):
    GREEN = 488


class Counter:
    """An integer of somebody else's making."""

    def __index__(self):
        return 3


class Unspeakable:
    """Cannot even be shown in a message."""

    def __repr__(self):
        raise RecursionError


CYCLE: dict = {}
CYCLE["again"] = [CYCLE]
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]

INDICES = [
    (PlaneIndex(t=np.int64(3), c=np.uint8(1)), PlaneIndex(3, 1)),
    ({"t": 3, "z": np.int32(2)}, PlaneIndex(t=3, z=2)),
    (MappingProxyType({"p": 1, "c": 2}), PlaneIndex(c=2, p=1)),
    ({Axis.TIME: 1, Axis.DEPTH: 2}, PlaneIndex(t=1, z=2)),
    ({"T": np.array(4), "C": Counter()}, PlaneIndex(t=4, c=3)),
    ({}, PlaneIndex()),
    (None, PlaneIndex(t=0)),
]
NOT_INDICES = [
    {"t": 1.5}, {"t": -1}, {"t": True}, {"t": "3"}, {"t": 3j},
    {"t": 2**53}, {"t": None}, {"g": 0, "t": 1}, {"t": 1, "T": 1}, {0: 1}, (1, 2, 3, 4), "t", 3,
    PlaneIndex(t=2.0), PlaneIndex(t=None), {"t": np.array([1])}, {"t": np.float64(1)},
]  # fmt: skip

BERLIN = dt.timezone(dt.timedelta(hours=2))
TIMES = [
    (np.float32(1.5), 1.5),
    (np.int64(1_795_000_000), 1_795_000_000.0),
    (np.array(2.5), 2.5),
    (fractions.Fraction(1, 4), 0.25),
    (decimal.Decimal("0.125"), 0.125),
    (dt.datetime(2026, 11, 18, 2, 26, 40, 250_000, BERLIN), 1_794_961_600.25),
    (dt.datetime(2026, 11, 18, 0, 26, 40, 250_000, dt.UTC), 1_794_961_600.25),
    (np.datetime64("2026-11-18T00:26:40.250"), 1_794_961_600.25),
    (np.datetime64("1970-01-02"), 86_400.0),
    (-1.5, -1.5),
]
NOT_TIMES = [
    float("nan"), np.float32("nan"), float("inf"), np.datetime64("NaT"),
    "2026-11-18", True, np.True_, 1j, b"1", dt.date(2026, 11, 18), dt.timedelta(1),
    np.timedelta64(1, "s"), [1.0], 10**400, object(),
]  # fmt: skip

METAS = [
    ({"laser_mw": np.float32(0.5), "n": np.int64(3), "on": np.True_}, {"laser_mw": 0.5, "n": 3, "on": True}),
    ({"stage": np.array([[1, 2], [3, 4]]), "pair": (1, 2)}, {"stage": [[1, 2], [3, 4]], "pair": [1, 2]}),
    ({"file": pathlib.PurePosixPath("a/b"), "line": Wavelength.GREEN}, {"file": "a/b", "line": 488}),
    ({Axis.TIME: Axis.DEPTH, 5: None}, {"t": "z", "5": None}),
    ({"ns": np.uint64(2**64 - 1), "at": dt.date(2026, 1, 2)}, {"ns": 2**64 - 1, "at": "2026-01-02"}),
    (MappingProxyType({"a": MappingProxyType({"b": range(2)})}), {"a": {"b": [0, 1]}}),
    (
        {"name": np.str_("ö"), "long": np.longdouble(0.5), "half": np.float16(2)},
        {"name": "ö", "long": 0.5, "half": 2},
    ),
    ({"scalar": np.array(7), "when": np.datetime64("2026-01-02")}, {"scalar": 7, "when": "2026-01-02"}),
]
NOT_METAS = [
    {"x": float("nan")}, {"x": np.array([1, np.inf])}, {"x": b"bytes"}, {"x": {1, 2}}, {"x": object()},
    CYCLE, {"x": DEEP}, {"x": "\ud800"}, {"\ud800": 1}, {1: 2, "1": 3}, {(1, 2): 3}, {None: 1}, {1.5: 1},
    {True: 1}, {"x": 10**5000}, {"x": -(2**64)}, {"x": 1j}, {"x": "y" * 70_000}, {"x": [0] * 70_000},
    {"x": np.zeros(10**7)}, {"x": np.ma.masked}, {"x": np.ma.array([1, 2], mask=[0, 1])},
    {"x": np.datetime64("NaT", "s").dtype}, {"x": Unspeakable()}, [("x", 1)], "x", 3, {"x": lambda: 0},
    {"x": np.zeros(2, "u2,f4")}, {"x": memoryview(b"1")},
]  # fmt: skip

SETTINGS = [
    (
        {"pixel_size_um": np.float32(0.5), "frame_interval_s": np.int64(2)},
        {"pixel_size_um": 0.5, "frame_interval_s": 2},
    ),
    ({"window": np.int64(4), "split_every": np.array(3)}, {"window": 4, "split_every": 3}),
    ({"maps": np.True_, "save": np.bool_(False)}, {"maps": True, "save": False}),
    ({"channels": ["a", np.str_("b")]}, {"channels": ("a", "b")}),
    (
        {"channels": np.array(["GFP", "RFP"]), "codecs": ["none"]},
        {"channels": ("GFP", "RFP"), "codecs": ("none",)},
    ),
    ({"mode": Mode.NEWEST, "out_dtype": np.float32}, {"mode": "latest", "out_dtype": "float32"}),
    ({"out_dtype": np.dtype(">f4"), "user": None}, {"out_dtype": "float32", "user": None}),
    (
        {"model": None, "window": None, "maps": None, "mode": None},
        {"model": None, "maps": False, "mode": "lossless"},
    ),
]
NOT_SETTINGS = [
    {"pixel_size_um": 0}, {"pixel_size_um": float("nan")}, {"pixel_size_um": "0.5"},
    {"pixel_size_um": True}, {"frame_interval_s": dt.timedelta(seconds=1)}, {"window": 0},
    {"window": 4.0}, {"window": True}, {"window": 2000}, {"maps": 1}, {"maps": "yes"},
    {"channels": "GFP"}, {"channels": [1]}, {"channels": ["x"] * 65}, {"channels": [b"GFP"]},
    {"codecs": ["zlib"]}, {"codecs": "none"}, {"mode": "newest"}, {"out_dtype": "uint8"},
    {"out_dtype": np.float64}, {"deliver": "all"}, {"checksum": True}, {"model": 3}, {"user": "x" * 1025},
    {"user": pathlib.Path("\udcff")}, {"axes": b"YX"}, {"split_every": -1}, {"on_result": 3},
    {"buffer_bytes": -1}, {"buffer_bytes": 1e6}, {"spool": 3},
]  # fmt: skip
KINDS = [
    ((FRAME.shape, FRAME.dtype), SHAPE, "uint16"),
    ((np.array(SHAPE), np.uint16), SHAPE, "uint16"),
    (([np.int64(12), 16], ">u2"), SHAPE, "uint16"),
    ((SHAPE, "u1"), SHAPE, "uint8"),
    ((SHAPE, np.dtype("float32")), SHAPE, "float32"),
]
NOT_KINDS = [
    (SHAPE, None), (SHAPE, float),
    (SHAPE, "int16"), (SHAPE, "no such type"), (SHAPE, 3), (SHAPE, FRAME), (SHAPE, "u2,f4"),
    (SHAPE, "a, b ("), ((12,), "uint16"), (12, "uint16"), ((12.0, 16), "uint16"), ((0, 16), "uint16"),
    ((12, 16, 1), "uint16"), ((12, 70_000), "uint16"), (("12", "16"), "uint16"), (None, "uint16"),
]  # fmt: skip
FRAMES = [
    FRAME.astype(">u2"), np.asfortranarray(FRAME), FRAME.view(np.ma.MaskedArray),
    np.ma.array(FRAME, mask=False), memoryview(FRAME), FRAME.view(type("Image", (np.ndarray,), {})),
    FRAME.repeat(2, 1)[:, ::2],
]  # fmt: skip
NOT_FRAMES = [
    np.ma.array(FRAME, mask=FRAME == 3), FRAME.tolist(), None, "frame", FRAME[0], FRAME[None],
    FRAME.astype(int), FRAME.astype(bool), [[1, 2], [3]], object(), 3, FRAME[:0],
]  # fmt: skip


@pytest.fixture(scope="module")
def connected(module_peer):
    with Client(module_peer.endpoint, timeout_s=60) as client:
        yield client


@pytest.fixture(params=["memory", "spool"])
def stream(request, connected, tmp_path):
    folder = tmp_path / "spool" if request.param == "spool" else None
    opened = connected.open(SHAPE, "uint16", spool=folder)
    yield opened
    opened.abandon()


def check_alive(stream):
    """Whether the next frame has the next number, and comes back."""
    seq = stream.next_seq
    assert stream.send(FRAME) == seq
    result = stream.take(timeout_s=60)
    assert result.seq == seq
    np.testing.assert_array_equal(result.pixels, FRAME)


def check_refused(stream, *args, error=ArgumentError, **options):
    seq = stream.next_seq
    with pytest.raises(error, match=r"expected|opened for"):
        stream.send(*args, **options)
    assert (stream.next_seq, stream.backlog) == (seq, 0)


def test_places_are_taken_however_they_are_told(module_peer, connected):
    for given, expected in INDICES:
        with connected.open(SHAPE, "uint16") as stream:
            stream.send(FRAME, index=given)
            assert stream.take(timeout_s=60).index == expected


def test_what_is_no_place_is_refused(stream):
    for given in NOT_INDICES:
        check_refused(stream, FRAME, index=given)
    check_alive(stream)


def test_times_are_taken_however_they_are_told(module_peer, connected):
    with connected.open(SHAPE, "uint16") as stream:
        for given, expected in TIMES:
            stream.send(FRAME, t_acq=given)
            stream.take(timeout_s=60)
            assert module_peer.log[-1].t_acq == expected


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process can be set on POSIX only")
def test_a_time_without_a_zone_is_local(module_peer, connected, monkeypatch):
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        with connected.open(SHAPE, "uint16") as stream:
            stream.send(FRAME, t_acq=dt.datetime(2026, 11, 18, 2, 26, 40, 250_000))
            stream.take(timeout_s=60)
            assert module_peer.log[-1].t_acq == 1_794_961_600.25
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_is_no_time_is_refused(stream):
    for given in NOT_TIMES:
        check_refused(stream, FRAME, t_acq=given)
    check_alive(stream)


def test_meta_is_taken_in_the_types_of_programs(module_peer, stream):
    for given, expected in METAS:
        stream.send(FRAME, meta=given)
        stream.take(timeout_s=60)
        assert module_peer.log[-1].meta == expected


def test_meta_that_cannot_travel_is_refused(stream):
    for given in NOT_METAS:
        seq = stream.next_seq
        with pytest.raises(ArgumentError):
            stream.send(FRAME, meta=given)
        assert stream.next_seq == seq
    check_alive(stream)


def test_settings_are_taken_in_the_types_of_programs(module_peer, connected):
    for given, expected in SETTINGS:
        connected.open(SHAPE, "uint16", **given).abandon()
        found = {name: getattr(module_peer.opened[-1], name) for name in expected}
        assert found == expected
        next(connected.stream([FRAME], **given))
        assert {name: getattr(module_peer.opened[-1], name) for name in expected} == expected


def test_settings_that_cannot_be_are_refused_in_the_call(module_peer, connected, stream):
    asked = len(module_peer.opened)
    for given in NOT_SETTINGS:
        with pytest.raises((ArgumentError, TypeError)):
            connected.open(SHAPE, "uint16", **given)
    for given in NOT_KINDS:
        with pytest.raises(ArgumentError):
            connected.open(*given)
    assert len(module_peer.opened) == asked
    check_alive(stream)


def test_shapes_and_dtypes_are_taken_as_arrays_have_them(module_peer, connected):
    for given, shape, dtype in KINDS:
        connected.open(*given).abandon()
        assert (module_peer.opened[-1].shape, module_peer.opened[-1].dtype) == (shape, dtype)


def test_frames_are_taken_as_numpy_makes_arrays_of_them(stream):
    for frame in FRAMES:
        stream.send(frame)
        np.testing.assert_array_equal(stream.take(timeout_s=60).pixels, FRAME)


def test_what_is_no_frame_of_the_stream_is_refused(stream):
    for frame in NOT_FRAMES:
        seq = stream.next_seq
        with pytest.raises(FrameError):
            stream.send(frame)
        assert stream.next_seq == seq
    check_alive(stream)


def test_holes_and_updates_take_numpy_values_and_refuse_others(module_peer, stream):
    stream.skip(np.int64(2), reason=np.str_("moving"))
    assert stream.next_seq == 2
    for frames, reason in [
        (0, "x"),
        (1.0, "x"),
        (True, "x"),
        (2**53, "x"),
        (1, 3),
        (1, "\ud800"),
        (1, None),
        (1, b"x"),
    ]:
        with pytest.raises(ArgumentError):
            stream.skip(frames, reason=reason)
    for thresholds in (Thresholds(ssim=np.float32(0.25)), {"ssim": np.float64(0.25)}):
        assert stream.update(thresholds=thresholds).thresholds.ssim == 0.25
    for wrong in ({"ssim": 2}, {"sim": 0.5}, {"ssim": float("nan")}, 0.5, Thresholds(ssim="0.5")):
        with pytest.raises(ArgumentError):
            stream.update(thresholds=wrong)
    with pytest.raises(ArgumentError):
        stream.update(model=3)
    check_alive(stream)


def test_waiting_times_are_taken_as_numbers(stream):
    stream.send(FRAME, timeout_s=np.float32(5))
    assert stream.take(timeout_s=float("inf")).seq == 0
    for wrong in (float("nan"), "5", True):
        with pytest.raises(ArgumentError):
            stream.send(FRAME, timeout_s=wrong)
        with pytest.raises(ArgumentError):
            stream.take(timeout_s=wrong)
    with pytest.raises(ArgumentError):
        Client("tcp://127.0.0.1:9", timeout_s=float("nan"))
    with pytest.raises(ArgumentError):
        Client("tcp://127.0.0.1:9", name=3)
    check_alive(stream)


def test_frames_and_refusals_take_turns_without_using_up_room(module_peer, connected):
    """A refused frame gives its room back: twice the window of refusals would else block the stream."""
    with connected.open(SHAPE, "uint16", window=1) as stream:
        for _ in range(10):
            with pytest.raises(ArgumentError):
                stream.send(FRAME, meta={"x": "y" * 65_500}, timeout_s=0)
        check_alive(stream)


def test_open_and_stream_name_every_setting():
    own = {"client", "shape", "dtype", "next_result", "stream", "resume_token", "state"}
    settings = {f.name for f in fields(Open)} - own
    for call in (Client.open, Client.stream):
        parameters = inspect.signature(call).parameters
        assert settings <= {name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}, call.__name__
        assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def test_what_the_readme_promises_can_be_imported():
    readme = pathlib.Path(__file__).parents[2] / "client" / "README.md"
    text = readme.read_text("utf-8")
    table = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    called = re.findall(r"\b([A-Z][a-z]\w+)\(", text)
    imported = re.findall(r"from dimstream_client import ([\w, ]+)", text)
    named = {*table, *called, *(name.strip() for line in imported for name in line.split(","))}
    assert {"SpoolFull", "Spool", "Client", "PlaneIndex", "ArgumentError"} <= named
    assert named <= set(dimstream_client.__all__)


def test_refusals_are_of_the_one_tree_and_have_codes():
    assert issubclass(ArgumentError, DimstreamError)
    assert issubclass(ArgumentError, ValueError)
    with pytest.raises(ArgumentError) as refused, Client("tcp://127.0.0.1:9") as client:
        client.open(SHAPE, "int16")
    assert refused.value.code == Code.WRONG_DTYPE
    assert os.linesep not in str(refused.value)
