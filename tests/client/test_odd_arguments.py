"""Any argument of any call, of any type: taken or refused in the call, and no other stream feels it."""

import datetime as dt
import decimal
import enum
import inspect
import pathlib
import types

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dimstream_client import Client, Frame, PlaneIndex, Thresholds
from dimstream_client.errors import DimstreamError

SHAPE = (12, 16)
SETTINGS = (
    "model", "mode", "axes", "out_dtype", "deliver", "save", "codecs", "checksum", "window", "pixel_size_um",
    "frame_interval_s", "channels", "maps", "sd", "split_every", "offset", "gain", "match_pixel_size",
    "priority", "weight", "deadline_ms", "user", "buffer_bytes", "on_result",
)  # fmt: skip


class Evil(Exception):
    """What a program's own object raises; it reaches the program."""


class Traps:
    """Fails wherever it is looked at."""

    def _fail(self, *_):
        raise Evil

    __index__ = __float__ = __iter__ = __len__ = __eq__ = __bool__ = __str__ = __fspath__ = _fail
    __hash__ = object.__hash__


class Trapped(dict):
    """A mapping that fails when it is read."""

    def items(self):
        raise Evil


class Colour(enum.Enum):
    RED = "red"
    DEEP = 3
    PAIR = (1, "x")


def frames_like():
    return hnp.arrays(
        st.sampled_from(["u1", "u2", ">u2", "f4", "i2", "f8", "?", "c8", "U2", "O"]),
        st.sampled_from([SHAPE, (2, 3), ()]),
    )


NUMPY = [
    hnp.from_dtype(np.dtype(name)) for name in ("i8", "u1", "f2", "f4", "f8", "?", "U4", "M8[us]", "m8[s]")
]
WORDS = ["latest", "lossless", "float32", "uint16", "crc32", "zlib", "none", "echo", "flags", "result"]
THINGS = [
    Traps(), Trapped(), np.uint16, float, object(), print, pathlib.PurePath("x"), range(3), 10**400,
    np.ma.masked, decimal.Decimal("NaN"), PlaneIndex(1), Thresholds(ssim=0.5), Ellipsis, NotImplemented,
    types.SimpleNamespace(shape=SHAPE), memoryview(b"12"),
]  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-3, 1100), st.floats(), st.complex_numbers(),
    st.text(max_size=8), st.characters(categories=["Cs"]), st.binary(max_size=4), st.decimals(),
    st.fractions(), st.datetimes(), st.datetimes(timezones=st.just(dt.UTC)), st.dates(), st.timedeltas(),
    st.uuids(), st.sampled_from(Colour), *NUMPY, hnp.scalar_dtypes(),
    hnp.arrays(st.sampled_from(["i4", "f4", "U3", "?"]), hnp.array_shapes(min_dims=0, max_dims=2)),
    st.sampled_from(WORDS), st.sampled_from(THINGS),
)  # fmt: skip
KEYS = st.sampled_from(["t", "c", "z", "p", "T", "g", "ssim", "x", 1, None, (1,)])
ODD = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.builds(lambda items: set(map(repr, items)), st.lists(st.integers(), max_size=2))
        | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(types.MappingProxyType)
    ),
    max_leaves=6,
)  # fmt: skip
GOOD = {"pixels": np.ones(SHAPE, np.uint16), "frames": 1, "reason": "r", "shape": SHAPE, "dtype": "uint16"}
CALLS = {
    "send": ("pixels", "index", "t_acq", "meta", "timeout_s", "copy"),
    "skip": ("frames", "reason"),
    "update": ("model", "thresholds", "timeout_s"),
    "open": ("shape", "dtype", *SETTINGS),
    "stream": (*SETTINGS[:-1], "copy"),
    "ping": ("timeout_s",),
    "resume_with": ("next_result", "frame_of", "on_result"),
    "spool": ("spool", "settled"),
}
OWN = {
    "pixels": frames_like(),
    "index": st.dictionaries(st.sampled_from("tczpTg"), st.integers(0, 9) | SCALARS),
    "meta": st.dictionaries(st.text(max_size=3), ODD, max_size=4),
    "dtype": st.sampled_from(["u2", "uint8", np.float32, np.dtype(">u2")]),
    "thresholds": st.builds(Thresholds, ssim=SCALARS) | st.dictionaries(st.just("ssim"), SCALARS),
    "frame_of": st.sampled_from(
        [lambda _: None, lambda _: Traps(), lambda seq: Frame("s", seq, GOOD["pixels"])]
    ),
    "timeout_s": st.floats(0, 0.25) | st.floats(0, 0.25, width=32).map(np.float32),
    "copy": st.booleans(),
}


class Scene:
    """A client with a stream that is tried and two that stand by, one of them with a spool."""

    def __init__(self, endpoint, folder):
        self.folder = folder
        self.client = Client(endpoint, timeout_s=60)
        self.bystanders = [
            self.client.open(SHAPE, "uint16"),
            self.client.open(SHAPE, "uint16", spool=folder / "bystander"),
        ]
        closed = self.client.open(SHAPE, "uint16")
        closed.close()
        self.resume_handle = closed.resume_handle
        self.tried = self.spooled = None
        self.renew()

    def renew(self):
        for old in (self.tried, self.spooled):
            if old is not None:
                old.close()
        self.tried = self.client.open(SHAPE, "uint16")
        self.spooled = self.client.open(SHAPE, "uint16", spool=self.folder / self.tried.id)

    def check(self):
        """Both bystanders give back what they get, and the streams that were tried have lost no number."""
        for stream in (*self.bystanders, self.tried, self.spooled):
            seq = stream.send(np.full(SHAPE, stream.next_seq % 2**16, np.uint16))
            result = stream.take(timeout_s=60)
            assert (result.seq, int(result.pixels[0, 0])) == (seq, seq % 2**16)

    def try_one(self, call, arguments):
        given_ = {**{name: GOOD[name] for name in CALLS[call] if name in GOOD}, **arguments}
        getattr(self, f"_{call}")(given_)

    def _send(self, given_):
        for stream in (self.tried, self.spooled):
            seq = stream.next_seq
            try:
                stream.send(given_.pop("pixels", GOOD["pixels"]), **given_)
            except (DimstreamError, Evil):
                assert stream.next_seq == seq
            else:
                assert stream.take(timeout_s=60).seq == seq

    def _skip(self, given_):
        for stream in (self.tried, self.spooled):
            seq = stream.next_seq
            try:
                stream.skip(**given_)
            except (DimstreamError, Evil):
                assert stream.next_seq == seq
        if self.tried.next_seq > 2**40:  # so that numbers do not run out
            self.renew()

    def _update(self, given_):
        self.tried.update(**given_)

    def _open(self, given_):
        self.client.open(**given_).close()

    def _stream(self, given_):
        results = self.client.stream([GOOD["pixels"]], **given_)
        for _ in results:
            pass

    def _ping(self, given_):
        self.client.ping(**given_)

    def _resume_with(self, given_):
        given_ = {"next_result": 0, "frame_of": lambda _: None, **given_}
        self.client.resume_with(self.resume_handle, **given_).close()

    def _spool(self, given_):
        odd = given_.get("spool")
        if isinstance(odd, str | bytes | pathlib.PurePath):
            odd = self.folder / "none"
        if "settled" in given_:
            self.client.resume(odd, settled=given_["settled"])
        else:
            self.client.open(SHAPE, "uint16", spool=odd).close()


@pytest.fixture(scope="module")
def scene(module_peer, tmp_path_factory):
    made = Scene(module_peer.endpoint, tmp_path_factory.mktemp("spools"))
    with made.client:
        yield made


@pytest.mark.slow
@settings(
    max_examples=min(8 * settings.default.max_examples, 10_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_argument_of_any_call_harms_another_stream(scene, data):
    call = data.draw(st.sampled_from(sorted(CALLS)))
    names = data.draw(st.lists(st.sampled_from(CALLS[call]), min_size=1, max_size=2, unique=True))
    arguments = {name: data.draw(OWN.get(name, ODD) | ODD, label=name) for name in names}
    try:
        scene.try_one(call, arguments)
    except (DimstreamError, Evil):
        pass
    scene.check()


def test_every_argument_is_tried():
    """A parameter that is added is tried, too."""
    own = {"self", "frames", "spool", "resume_handle"}
    for call in (Client.open, Client.stream, Client.resume_with):
        assert set(inspect.signature(call).parameters) - own == set(CALLS[call.__name__])
