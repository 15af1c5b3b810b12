"""A gateway's engine with real servers as its workers gives what one engine alone gives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest

from dimstream_client.messages import Error, Open
from dimstream_models.bundle import Bundle
from dimstream_models.quality.detector import Detector
from dimstream_server import errors
from dimstream_server.engine.loading import model_info
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import Engine, EngineResult, FrameTask, InForce, StreamSpec
from dimstream_server.engine.resume_state import Counts, PlaneRecord, ResumeState
from dimstream_server.engine.state_json import state_json
from dimstream_server.streams.open_request import spec_of
from dimstream_server.workers import WorkersEngine
from dimstream_server.workers.placed_stream import PlacedStream

SHAPE = (40, 44)
SPEC = StreamSpec("blur", SHAPE, "uint16", deliver_maps=True, split_every=3, frame_interval_s=2.0)
SECONDS = 60
FRAMES = 30


@pytest.fixture
def bundle(tiny_bundle: Callable[..., Bundle]) -> Bundle:
    return tiny_bundle("blur")


@pytest.fixture
def gateway(bundle: Bundle) -> Iterator[Callable[..., WorkersEngine]]:
    """Maker of gateway engines: `gateway(server, …)`, once each worker serves the model."""
    engines = []

    def make(*servers: Any, bundles: tuple[Bundle, ...] = (bundle,)) -> WorkersEngine:
        addresses = tuple(one.addresses.zmq for one in servers)
        engines.append(WorkersEngine(bundles, addresses, silence_s=5.0))
        until(lambda: all(one["models"] for one in engines[-1].workers()) and bool(engines[-1].workers()))
        return engines[-1]

    yield make
    for engine in engines:
        engine.drain().result(SECONDS)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not true within {SECONDS} s"
        time.sleep(0.01)


def movie(frames: int = FRAMES, planes: int = 2) -> list[FrameTask]:
    """A field that dies, comes back and jumps, so that the judges have something to remember."""
    rng = np.random.default_rng(5)
    field = np.clip(rng.normal(1, 1.5, SHAPE), 0, None)
    field = np.repeat(np.repeat(field[::4, ::4], 4, 0), 4, 1)
    tasks = []
    for seq in range(frames):
        t, z = divmod(seq, planes)
        scene = np.zeros_like(field) if 10 <= seq < 15 else np.roll(field, (seq % 7 == 3) * 5, 0)
        tasks.append(FrameTask(seq, rng.poisson(scene * 20 + 1).astype(np.uint16), t, (0, z, 0)))
    return tasks


def said(result: EngineResult) -> dict[str, Any]:
    """All of a result that no clock decides."""
    told = asdict(replace(result, pixels=None, support=None, sd=None))
    told.pop("t_ms")
    if told["quality"]["split"]:
        told["quality"]["split"].pop("t_ms")
    return told


def same(results: list[EngineResult], expected: list[EngineResult]) -> None:
    for result, other in zip(results, expected, strict=True):
        assert said(result) == said(other)
        np.testing.assert_array_equal(result.pixels, other.pixels)
        np.testing.assert_array_equal(result.support, other.support)


@pytest.fixture
def undisturbed(bundle: Bundle) -> list[EngineResult]:
    engine = LocalEngine([bundle], threads=1)
    stream = engine.open(SPEC)
    results = run(engine, stream, movie())
    engine.drain().result(SECONDS)
    assert len({result.flag for result in results}) == 3, "a movie in which nothing happens proves nothing"
    return results


def run(engine: Engine, stream: str, tasks: list[FrameTask]) -> list[EngineResult]:
    futures = [engine.submit(stream, task) for task in tasks]
    return [future.result(SECONDS) for future in futures]


def has_it(engine: WorkersEngine) -> str:
    """The worker that has the one stream."""
    return next(one["address"] for one in engine.workers() if one["streams"])


@pytest.mark.slow
def test_nobody_can_tell_that_workers_denoise_and_that_they_go(
    start_server: Any, gateway: Any, undisturbed: list[EngineResult]
) -> None:
    servers = {server.addresses.zmq: server for server in (start_server(), start_server())}
    engine = gateway(*servers.values())
    stream = engine.open(SPEC)
    tasks = movie()
    results = run(engine, stream, tasks[:8])
    first = has_it(engine)
    [second] = set(servers) - {first}
    engine.set_workers((second,))  # taken out while frames are under way
    results += run(engine, stream, tasks[8:17])
    until(lambda: [one["address"] for one in engine.workers()] == [second])
    engine.set_workers((first, second))
    until(lambda: all(one["models"] for one in engine.workers()) and len(engine.workers()) == 2)
    assert has_it(engine) == second, "one stream has no reason to move"
    servers[second].begin_stop()  # says that it drains
    results += run(engine, stream, tasks[17:])
    assert has_it(engine) == first
    same(results, undisturbed)
    assert engine.close(stream).result(SECONDS) == undisturbed[-1].counts
    assert engine.queue_length() == 0


def test_gaps_changes_and_cancelled_frames_are_as_in_one_engine(
    start_server: Any, gateway: Any, bundle: Bundle
) -> None:
    tasks = movie(9, 1)
    outcomes = []
    for engine in (LocalEngine([bundle], threads=1), gateway(start_server())):
        stream = engine.open(SPEC)
        results = run(engine, stream, tasks[:2])
        engine.skip(stream, 2, 3)
        results += run(engine, stream, tasks[4:6])
        in_force = engine.update(stream, 6, thresholds={"ssim": 0.25, "split": 0.125}).result(SECONDS)
        results += run(engine, stream, tasks[6:8])
        with pytest.raises(errors.BadUpdate, match="frames before it are done"):
            engine.update(stream, 3, thresholds={"ssim": 0.5}).result(SECONDS)
        with pytest.raises(errors.UnknownModel):
            engine.update(stream, 9, model="other")
        counts = engine.close(stream).result(SECONDS)
        outcomes.append((results, in_force.thresholds, in_force.from_seq, counts))
        engine.drain().result(SECONDS)
    (expected, *others), (results, *gateways) = outcomes
    same(results, expected)
    assert gateways == others


def test_streams_are_spread_and_move_to_a_worker_that_comes(start_server: Any, gateway: Any) -> None:
    first, second = start_server(), start_server()
    engine = gateway(first)
    streams = [engine.open(SPEC) for _ in range(4)]
    engine.set_workers((first.addresses.zmq, second.addresses.zmq))
    until(lambda: [one["streams"] for one in engine.workers()] == [2, 2])
    for stream in streams:
        [result] = run(engine, stream, movie(1))
        assert result.status == "done"
        engine.close(stream).result(SECONDS)
    assert [one["streams"] for one in engine.workers()] == [0, 0]


def test_other_weights_under_the_same_name_get_no_streams(
    start_server: Any, gateway: Any, tiny_bundle: Callable[..., Bundle], bundle: Bundle
) -> None:
    other = start_server(tiny_bundle("flipping", id="blur"))
    engine = WorkersEngine([bundle], (other.addresses.zmq,))
    until(lambda: "sha256" in str(engine.workers()))
    with pytest.raises(errors.ServerBusy, match=r"no worker serves blur; .*expected weights with sha256"):
        engine.open(SPEC)
    assert "no worker serves blur" in str(engine.shortage())
    engine.drain().result(SECONDS)
    assert engine.trouble() is None


def test_frames_wait_for_a_worker_and_are_lost_with_none(
    start_server: Any, gateway: Any, undisturbed: list[EngineResult]
) -> None:
    first = start_server()
    engine = gateway(first)
    stream = engine.open(SPEC)
    tasks = movie()
    results = run(engine, stream, tasks[:5])
    engine.set_workers(())
    until(lambda: not engine.workers())
    waiting = [engine.submit(stream, task) for task in tasks[5:12]]
    assert engine.queue_length() == 7
    engine.set_workers((first.addresses.zmq,))
    results += [future.result(SECONDS) for future in waiting]
    same(results, undisturbed[:12])
    engine.close(stream).result(SECONDS)


def test_a_stream_stays_on_the_kind_of_device_on_which_it_began(
    start_server: Any, gateway: Any, undisturbed: list[EngineResult]
) -> None:
    first = start_server()
    engine = gateway(first)
    stream = engine.open(SPEC)
    tasks = movie()
    results = run(engine, stream, tasks[:5])
    other = start_server(server={"device": ["openvino:cpu"]})
    engine.set_workers((other.addresses.zmq,))
    waiting = [engine.submit(stream, task) for task in tasks[5:9]]
    until(lambda: [one["device"] for one in engine.workers()] == ["openvino:cpu"])
    until(lambda: "1 streams are waiting for a suitable worker, begun on cpu" in str(engine.lost()))
    assert not any(future.done() for future in waiting)
    engine.set_workers((other.addresses.zmq, first.addresses.zmq))
    results += [future.result(SECONDS) for future in waiting]
    assert has_it(engine) == first.addresses.zmq
    same(results, undisturbed[:9])
    engine.close(stream).result(SECONDS)


def test_a_stream_that_no_worker_has_memory_for_is_told_so(start_server: Any, gateway: Any) -> None:
    small = start_server(limits={"max_frame_bytes": 10_000})
    engine = gateway(small)
    stream = engine.open(replace(SPEC, shape=(80, 80)))
    task = FrameTask(0, np.ones((80, 80), np.uint16), 0, (0, 0, 0))
    with pytest.raises(errors.ServerError, match=r"no worker answers frame 0: .*10000 bytes"):
        engine.submit(stream, task).result(SECONDS)
    large = start_server()
    engine.set_workers((small.addresses.zmq, large.addresses.zmq))
    until(lambda: all(one["models"] for one in engine.workers()) and len(engine.workers()) == 2)
    engine.submit(stream, replace(task, seq=1)).result(SECONDS)
    assert has_it(engine) == large.addresses.zmq
    engine.close(stream).result(SECONDS)


def test_a_bundle_is_served_once_a_worker_has_it(
    start_server: Any, gateway: Any, tiny_bundle: Callable[..., Bundle]
) -> None:
    engine = gateway(start_server("blur", "flipping"))
    with pytest.raises(errors.DeviceUnavailable, match="load it at the workers first"):
        engine.prepare(tiny_bundle("identity")).result(SECONDS)
    info = engine.serve(engine.prepare(tiny_bundle("flipping")).result(SECONDS))
    assert set(engine.models()) == {"blur", "flipping"}
    stream = engine.open(replace(SPEC, model="flipping", deliver_maps=False))
    [result] = run(engine, stream, movie(1))
    assert (result.model_id, result.model_sha256) == ("flipping", info.sha256)
    with pytest.raises(errors.ModelInUse):
        engine.withdraw("flipping")
    engine.close(stream).result(SECONDS)
    engine.withdraw("flipping")
    assert set(engine.models()) == {"blur"}


def _state() -> dict[str, Any]:
    from dimstream_client.quality import Thresholds
    from dimstream_models.judging import PlaneJudge

    record = PlaneRecord((0, 0, 0), 6, 6, "0" * 64, True, PlaneJudge().state())
    return json.loads(json.dumps(state_json(ResumeState(7, (record,), Counts(done=7), Thresholds(ssim=0.5)))))


def _at(path: str, value: Any) -> dict[str, Any]:
    state = place = _state()
    *steps, last = path.split(".")
    for step in steps:
        place = place[int(step) if isinstance(place, list) else step]
    place[last] = value
    return state


BAD_STATES = {
    "empty": {},
    "unknown field": _at("more", 1),
    "negative": _at("next_seq", -1),
    "a later frame": _at("next_seq", 6),
    "bad threshold": _at("thresholds.ssim", 7),
    "plane of two": _at("planes.0.plane", [0, 0]),
    "no judge": _at("planes.0.judge", {}),
    "a text for a list": _at("planes.0.judge.history.scores", "abc"),
    "texts in a list": _at("planes.0.judge.decline.short", ["1"] * 8),
    "a list too long": _at("planes.0.judge.history.scores", [1.0] * 65),
    "an object for a number": _at("planes.0.judge.confirmed_for", {}),
    "a huge number": _at("planes.0.judge.confirmed_for", 10**400),
    "counts of texts": _at("counts.done", "7"),
}


@pytest.mark.parametrize("state", BAD_STATES.values(), ids=BAD_STATES)
def test_a_state_that_is_none_is_refused_and_harms_nothing(peer: Any, state: dict[str, Any]) -> None:
    answer = peer.ask(Open("test", SHAPE, "uint16", model="blur", state=state))
    assert isinstance(answer, Error), answer
    assert (answer.code, answer.expected) == ("bad_field", {"field": "state"})
    assert peer.open(SHAPE).next_seq == 0


def test_a_state_and_a_token_are_refused_together(peer: Any) -> None:
    resume = {"stream": "s", "resume_token": "t"}
    answer = peer.ask(Open("test", SHAPE, "uint16", model="blur", state=_state(), **resume))
    assert answer.code == "bad_field"


def test_a_stream_with_a_state_goes_on_there_and_tells_its_own(peer: Any) -> None:
    opened = peer.open(SHAPE, state=_state())
    assert (opened.next_seq, opened.references, opened.thresholds.ssim) == (7, (), 0.5)
    result = peer.denoise(opened.stream, 7, movie(1)[0].pixels)
    assert result.reason == "model changed"
    assert result.state["counts"]["done"] == 8
    assert result.state["predicted"] is True
    plain = peer.open(SHAPE)
    assert peer.denoise(plain.stream, 0, movie(1)[0].pixels).state is None


def test_a_worker_is_asked_for_all_that_a_stream_wants(bundle: Bundle) -> None:
    wanted = StreamSpec(
        model="blur",
        shape=SHAPE,
        in_dtype="uint8",
        out_dtype="float32",
        deliver_pixels=False,
        deliver_maps=True,
        deliver_sd=True,
        split_every=3,
        frame_interval_s=2.0,
        detector=Detector(offset=100.0, gain=2.0),
        pixel_size_um=0.02,
        match_pixel_size=True,
        priority="batch",
        weight=3,
        deadline_ms=250.0,
    )
    usual = StreamSpec("blur", SHAPE, "uint16")
    same_as_usual = [
        one.name for one in fields(StreamSpec) if getattr(wanted, one.name) == getattr(usual, one.name)
    ]
    assert same_as_usual == ["model", "shape"], "give each new field another value here"
    in_force = InForce(0, model_info(bundle), model_info(bundle).thresholds)
    for spec in (wanted, usual):
        asked = PlacedStream.begin("s", spec, in_force, None).open_message()
        assert spec_of(asked, model="blur") == spec
