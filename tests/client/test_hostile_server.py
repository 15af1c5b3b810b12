"""A server that misbehaves: no wrong pixels are delivered, no spooled frame is lost, no other stream ends."""

import random
from dataclasses import replace

import numpy as np
import pytest

from dimstream_client import Client, PlaneIndex
from dimstream_client import messages as m
from dimstream_client.errors import Code, DimstreamError, ProtocolError
from dimstream_client.wire import encode

SHAPE = (12, 16)
BEFORE = 3  # honest results before each misdeed


def frame(value):
    return np.full(SHAPE, value, np.uint16)


def wire(message):
    return [bytes(part) for part in encode(message)]


def changed(**fields):
    """A RESULT with other fields; values may be made of the honest one."""

    def tamper(result, parts, rng):
        made = {name: value(result, rng) if callable(value) else value for name, value in fields.items()}
        return [wire(replace(result, **made))]

    return tamper


def with_header(change):
    return lambda result, parts, rng: [[parts[0], change(parts[1]), *parts[2:]]]


def besides(*messages):
    """Honest, but for what else comes before it."""

    def tamper(result, parts, rng):
        made = [message(result) if callable(message) else message for message in messages]
        return [*(wire(message) if not isinstance(message, list) else message for message in made), parts]

    return tamper


def error_of(result, code, **fields):
    return m.Error.of(code, "no", stream=result.stream, **fields)


# What comes instead of a RESULT.
REFUSED = {
    "the one of a later frame": changed(seq=lambda r, rng: r.seq + rng.randint(1, 3)),
    "the one of an earlier frame": changed(seq=lambda r, rng: r.seq - rng.randint(1, 2)),
    "of a frame never sent": changed(seq=lambda r, rng: r.seq + rng.choice([10**3, 2**52])),
    "smaller pixels": changed(pixels=np.zeros((2, 2), np.uint16)),
    "pixels turned": changed(pixels=np.zeros(SHAPE[::-1], np.uint16)),
    "other dtype": changed(pixels=np.zeros(SHAPE, np.uint8)),
    "wider dtype": changed(pixels=np.zeros(SHAPE, np.float32)),
    "no pixels": changed(pixels=None),
    "pixels of a failed frame": changed(status="failed"),
    "a map nobody asked for": changed(support=np.zeros(SHAPE, np.uint8)),
    "another plane": changed(index=lambda r, rng: replace(r.index, c=1)),
    "another time point": changed(index=lambda r, rng: PlaneIndex(t=r.index.t + 1)),
    "a limit beyond all credit": changed(limit=lambda r, rng: r.limit + rng.choice([9, 2**40])),
    "half a payload": lambda r, parts, rng: [[*parts[:2], parts[2][: rng.randint(0, 300)]]],
    "no payload, but a shape": lambda r, parts, rng: [parts[:2]],
    "a part too many": lambda r, parts, rng: [[*parts, b"x"]],
    "an absurd SSIM": with_header(lambda h: h.replace(b'"ssim_prev":0.9', b'"ssim_prev":1e308')),
    "no number": with_header(lambda h: h.replace(b'"ssim_prev":0.9', b'"ssim_prev":NaN')),
    "half a header": with_header(lambda h: h[: len(h) // 2]),
    "a header of bytes": with_header(lambda h: b"\xff\x00" * 40),
    "no header": with_header(lambda h: b""),
    "a header too large": with_header(lambda h: h[:-1] + b',"x":"' + b"y" * 70_000 + b'"}'),
    "a header nested too deep": with_header(lambda h: b'{"stream":' + b"[" * 30_000),
}
# What comes besides; the RESULT behind it is good.
PASSED_OVER = {
    "the same twice": lambda r, parts, rng: [parts, parts],
    "a lower limit": changed(limit=0),
    "an empty message": besides([b""]),
    "an unknown type": besides([b"DIM1HELLO", b"{}"]),
    "another magic": besides([b"HTTP/1.1 400 Bad Request", b"x"]),
    "ten thousand parts": besides([b"DIM1RESULT", *[b""] * 10_000]),
    "a frame": besides(m.Frame("s0", 3, frame(1))),
    "an OPEN": besides(m.Open("you", SHAPE, "uint16")),
    "a result of no stream": besides(lambda r: replace(r, stream="nobody")),
    "CLOSED that nobody asked for": besides(lambda r: m.Closed(r.stream, counts={})),
    "UPDATED that nobody asked for": besides(
        lambda r: m.Updated(r.stream, 0, m.Model("x", "y"), m.Thresholds())
    ),
    "PONG that nobody asked for": besides(m.Pong(1.0, "b", 3)),
    "OPENED that nobody asked for": besides(
        lambda r: m.Opened(r.stream, "t", "b", 7, 99, 1, m.Model("x", "y"), m.Thresholds(), 99, 1.0, 99)
    ),
    "an error about nothing": besides(m.Error.of(Code.BAD_HEADER, "you are no client")),
    "a refusal of what was answered": besides(lambda r: error_of(r, Code.SEQUENCE_GAP, seq=r.seq - 1)),
    "a refusal of what was never sent": besides(lambda r: error_of(r, Code.NOT_FINITE, seq=r.seq + 500)),
    "absurd advice": besides(
        lambda r: error_of(r, Code.SEQUENCE_GAP, seq=r.seq, expected={"seq": 2**53 - 1}),
    ),
    "a credit beyond all": besides(lambda r: m.Credit(r.stream, 2**53 - 1)),
}
WAYS = {**REFUSED, **PASSED_OVER}
# They take the connection down, and the streams come back on the next one.
LOUD = {"a part larger than any result": besides([b"DIM1RESULT", bytes(70 * 2**20)])}


class Misdeeds:
    """Does each of the `ways` once, to every fourth result of the first stream, or `always` to the fourth."""

    def __init__(self, ways, *, always=False, seed=1):
        self._todo = dict(zip(range(BEFORE, 10**6, BEFORE + 1), ways.values(), strict=False))
        self._always = always
        self._rng = random.Random(seed)

    def __call__(self, message, parts):
        if message.TYPE != "RESULT" or message.stream != "s0" or message.seq not in self._todo:
            return [parts]
        way = self._todo[message.seq] if self._always else self._todo.pop(message.seq)
        return way(message, parts, self._rng)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "spool"])
@pytest.mark.parametrize("ways", [WAYS, LOUD], ids=["quiet", "loud"])
def test_every_result_is_right_and_in_order_whatever_comes_between(peer, tmp_path, kind, ways):
    server = peer(tamper=Misdeeds(ways, seed=hash(kind) % 2**16), window=4)
    total = (BEFORE + 1) * len(ways) + 3
    folder = tmp_path / "victim" if kind == "spool" else None
    with Client(server.endpoint) as client:
        victim = client.open(SHAPE, "uint16", spool=folder, buffer_bytes=2**20)
        bystanders = [
            client.open(SHAPE, "uint16", buffer_bytes=2**20),
            client.open(SHAPE, "uint16", spool=tmp_path / "bystander"),
        ]
        for value in range(total):
            for stream in (victim, *bystanders):
                stream.send(frame(value))
        for stream in (victim, *bystanders):
            stream.finish()
            results, errors = taken(stream)
            assert [r.seq for r in results] == list(range(total))
            assert [int(r.pixels.min()) for r in results] == [r.seq for r in results]
            assert all(r.pixels.shape == SHAPE and r.pixels.dtype == np.uint16 for r in results)
            assert errors == []
        assert not (tmp_path / "bystander").exists()  # all of it was dealt with
        assert [stream.refused_results for stream in bystanders] == [0, 0]
        assert victim.refused_results >= len(set(ways) & set(REFUSED)) - UNNAMED


UNNAMED = 5  # of these nobody can tell whose they are


def taken(stream):
    results, errors = [], []
    while True:
        try:
            result = stream.take(timeout_s=30)
        except DimstreamError as error:
            errors.append(error)
            if not getattr(error, "seq", None):
                return results, errors
            continue
        if result is None:
            return results, errors
        results.append(result)


@pytest.mark.parametrize("name", ["the one of a later frame", "smaller pixels", "another plane"])
def test_a_server_that_does_not_stop_ends_that_stream_alone_and_its_frames_stay(peer, tmp_path, name):
    server = peer(tamper=Misdeeds({name: REFUSED[name]}, always=True))
    folder = tmp_path / "spool"
    with Client(server.endpoint) as client:
        victim = client.open(SHAPE, "uint16", spool=folder)
        bystander = client.open(SHAPE, "uint16")
        for value in range(10):
            victim.send(frame(value))
        results, errors = taken(victim)
        assert [r.seq for r in results] == [0, 1, 2]
        assert [type(error) for error in errors] == [ProtocolError]
        assert victim.refused_results == 6
        bystander.send(frame(1))
        assert bystander.take(timeout_s=60).seq == 0
    server.tamper = lambda message, parts: [parts]
    with Client(server.endpoint) as client:
        resumed = client.resume(folder)
        resumed.finish()
        assert [int(r.pixels[0, 0]) for r in taken(resumed)[0]] == list(range(3, 10))


@pytest.mark.parametrize(
    "change",
    [
        {"next_seq": 3}, {"limit": 9}, {"limit": 2**53 - 1}, {"limit": 0}, {"window": 1024},
        {"codec": "zlib"}, {"checksum": "crc32"}, {"model": m.Model("other", "x")}, {"references": (0,)},
        {"offset": None, "gain": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_stream_that_was_opened_otherwise_than_asked_is_refused(peer, change):
    def tamper(message, parts):
        return [wire(replace(message, **change))] if message.TYPE == "OPENED" else [parts]

    server = peer()
    with Client(server.endpoint) as client:
        bystander = client.open(SHAPE, "uint16")
        server.tamper = tamper
        with pytest.raises(ProtocolError, match=f"OPENED fields? {next(iter(change))}"):
            client.open(SHAPE, "uint16", window=4, model="echo", offset=100, gain=2.2)
        bystander.send(frame(1))
        assert bystander.take(timeout_s=60).seq == 0


def test_maps_of_another_shape_are_refused(peer):
    misdeeds = {
        "small": changed(support=np.zeros((2, 2), np.uint8), pixels=None),
        "none": changed(support=None),
    }
    server = peer(tamper=Misdeeds(misdeeds))
    with Client(server.endpoint) as client:
        stream = client.open(SHAPE, "uint16", maps=True, deliver="flags", window=4, buffer_bytes=2**20)
        for value in range(10):
            stream.send(frame(value))
        stream.finish()
        results, errors = taken(stream)
        assert [r.seq for r in results] == list(range(10))
        assert {r.support.shape for r in results} == {SHAPE}
        assert (stream.refused_results, errors) == (2, [])


def test_a_stream_with_larger_results_moves_all_to_another_connection_and_none_ends(peer):
    """The socket takes parts as large as its streams need, and no larger."""
    server = peer()
    shape = (4200, 4200)  # float32: 70 MB
    with Client(server.endpoint, outage_s=0) as client:
        bystander = client.open(SHAPE, "uint16", buffer_bytes=2**20)
        for value in range(20):
            bystander.send(frame(value))
        large = client.open(shape, "uint8", out_dtype="float32", window=1)
        large.send(np.ones(shape, np.uint8))
        result = large.take(timeout_s=30)
        assert (result.pixels.shape, result.pixels.dtype, int(result.pixels[-1, -1])) == (
            shape,
            np.float32,
            1,
        )
        bystander.finish()
        assert [r.seq for r in taken(bystander)[0]] == list(range(20))
