"""Several devices in one engine: streams are spread, and go on elsewhere when their device is lost."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from dimstream_models.bundle import Bundle
from dimstream_server import errors
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import EngineLimits, EngineResult, FrameTask, StreamSpec
from dimstream_server.engine.resume_state import Counts
from dimstream_server.engine.stream_state import Gap
from dimstream_server.engine.thread_commands import Append
from dimstream_server.pipeline.device_name import parse_device
from dimstream_server.pipeline.fused_model import FusedModel
from dimstream_server.pipeline.runner import Runner

BundleMaker = Callable[..., Bundle]
SHAPE = (32, 36)
SPEC = StreamSpec("blur", SHAPE, "uint16", deliver_maps=True)
FRAMES, PLANES = 18, 2
SECONDS = 60
_NO_CLOCK = ("seq", "status", "flag", "reason", "ssim_prev", "compared_seq", "fractions", "model_sha256")


@contextmanager
def _engine(bundles: list[Bundle], devices: int = 2, **options: Any) -> Iterator[LocalEngine]:
    engine = LocalEngine(bundles, devices=["cpu"] * devices, threads=1, **options)
    try:
        yield engine
    finally:
        engine.drain().result(SECONDS)


def _movie(seed: int) -> list[FrameTask]:
    """A field in two planes that moves once, with a pixel at which "raising" raises."""
    rng = np.random.default_rng(seed)
    field = np.repeat(np.repeat(np.clip(rng.normal(1, 1.5, SHAPE), 0, None)[::4, ::4], 4, 0), 4, 1)
    tasks = []
    for seq in range(FRAMES):
        t, z = divmod(seq, PLANES)
        pixels = rng.poisson(np.roll(field, 5 * (t == 4), 0) * 20 + 1).astype(np.uint16)
        pixels[0, 0] = 1000
        tasks.append(FrameTask(seq, pixels, t, (0, z, 0)))
    return tasks


def _said(result: EngineResult) -> dict[str, Any]:
    """All of a result that no clock decides."""
    said = {name: getattr(result, name) for name in _NO_CLOCK}
    said["pixels"] = None if result.pixels is None else result.pixels.tobytes()
    said["support"] = None if result.support is None else result.support.tobytes()
    said["quality"] = None if result.quality is None else asdict(result.quality)
    return said | {"counts": result.counts, "plane": asdict(result.plane) if result.plane else None}


def _submit(engine: LocalEngine, stream: str, tasks: list[FrameTask]) -> list[Future[EngineResult]]:
    return [engine.submit(stream, task) for task in tasks]


def _all_said(futures: list[Future[EngineResult]]) -> list[dict[str, Any]]:
    return [_said(future.result(SECONDS)) for future in futures]


@pytest.fixture(scope="module")
def bundles(tiny_bundle: BundleMaker) -> list[Bundle]:
    return [tiny_bundle("blur"), tiny_bundle("blur", id="other", sha256="e" * 64)]


@pytest.fixture(scope="module")
def undisturbed(bundles: list[Bundle]) -> list[list[dict[str, Any]]]:
    """What one device says of four movies, the model of which is changed in their middle."""
    with _engine(bundles, devices=1) as engine:
        return [_all_said(_run_one(engine, seed)[1]) for seed in range(4)]


def _run_one(engine: LocalEngine, seed: int) -> tuple[str, list[Future[EngineResult]]]:
    stream = engine.open(SPEC)
    change = engine.update(stream, 13, model="other")
    futures = _submit(engine, stream, _movie(seed))
    assert change.result(SECONDS).from_seq == 13
    return stream, futures


def _failing_network() -> ort.InferenceSession:
    """A session that really raises, whatever it is given."""
    nodes = [
        helper.make_node("Cast", ["x"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["x", "place"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph(nodes, "failing", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def failing(tiny_bundle: BundleMaker) -> Runner:
    """The graph of a network that raises on every frame of the movies."""
    raising, cpu = tiny_bundle("raising"), parse_device("cpu")
    return FusedModel(raising, device=cpu, in_dtype="uint16", out_dtype="uint16", threads=1).runner


def _break(engine: LocalEngine, number: int, failing: Runner) -> None:
    """Let a device fail from its next run on, on frames and on what it is checked by."""
    thread = engine._devices.threads[number]
    thread._check.session = _failing_network()
    for model in thread._models.by_key.values():
        assert not isinstance(model, Exception)
        model.fused.runner = failing


def _at(future: Future[EngineResult], number: int, act: Callable[[], None]) -> None:
    """Act on a device's thread once a frame is answered; the frame must not be answered yet."""

    def on_thread(_: Future[EngineResult]) -> None:
        assert threading.current_thread().name == f"dimstream-device-cpu#{number + 1}"
        act()

    future.add_done_callback(on_thread)


@pytest.mark.slow
def test_streams_are_spread_and_say_what_one_device_says(
    bundles: list[Bundle], undisturbed: list[list[dict[str, Any]]]
) -> None:
    with _engine(bundles) as engine:
        streams = [_run_one(engine, seed) for seed in range(4)]
        assert [_all_said(futures) for _, futures in streams] == undisturbed
        reports = engine.devices()
        assert [(one.name, one.streams, one.answered, one.queued) for one in reports] == [
            ("cpu#1", 2, 2 * FRAMES, 0),
            ("cpu#2", 2, 2 * FRAMES, 0),
        ]
        assert engine.device().name == "cpu#1,cpu#2"
        for stream, _ in streams:
            engine.close(stream).result(SECONDS)
        assert [one.streams for one in engine.devices()] == [0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("at", [0, 8])
def test_a_device_that_fails_loses_no_frame_and_changes_no_pixel(
    bundles: list[Bundle],
    failing: Runner,
    undisturbed: list[list[dict[str, Any]]],
    at: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With frames in flight, two planes to be compared, and a change of model that waits."""
    with _engine(bundles) as engine:
        held = threading.Event()
        streams = [engine.open(SPEC) for _ in range(4)]
        changes = [engine.update(stream, 13, model="other") for stream in streams]
        assert [change.result(SECONDS).from_seq for change in changes] == [13] * 4
        gate = engine.open(SPEC)  # on the first device, as streams 0 and 2 are
        engine.submit(gate, _movie(9)[0]).add_done_callback(lambda _: held.wait(SECONDS))
        futures = [_submit(engine, stream, _movie(seed)) for seed, stream in enumerate(streams)]
        _at(futures[0][at], 0, lambda: _break(engine, 0, failing))
        held.set()
        assert [_all_said(one) for one in futures] == undisturbed
        lost, living = engine.devices()
        assert "fails on an addition" in (lost.trouble or "")
        assert (lost.streams, living.streams, living.trouble) == (0, 5, None)
        assert engine.trouble() is None
        counts = [engine.close(stream).result(SECONDS) for stream in streams]
        assert {(one.done, one.failed) for one in counts} == {(FRAMES, 0)}
    told = [record.getMessage() for record in caplog.records if "event=device_lost" in record.getMessage()]
    assert len(told) == 1
    assert "device=cpu#1 streams=3 devices_left=1" in told[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_device_whose_thread_dies_loses_no_frame(
    bundles: list[Bundle], undisturbed: list[list[dict[str, Any]]]
) -> None:
    with _engine(bundles) as engine:
        streams = [engine.open(SPEC) for _ in range(4)]
        changes = [engine.update(stream, 13, model="other") for stream in streams]
        assert len([change.result(SECONDS) for change in changes]) == 4
        futures = [_submit(engine, stream, _movie(seed)[:9]) for seed, stream in enumerate(streams)]
        thread = engine._devices.threads[0]
        thread.commands.put(Append("no such stream", Gap(0, 0)))
        for seed, stream in enumerate(streams):  # some behind the command that kills
            futures[seed] += _submit(engine, stream, _movie(seed)[9:])
        closed = [engine.close(stream) for stream in streams]
        assert [_all_said(one) for one in futures] == undisturbed
        assert [one.result(SECONDS).done for one in closed] == [FRAMES] * 4
        thread._thread.join(SECONDS)
        assert "the device thread died" in (engine.devices()[0].trouble or "")
        assert engine.open(SPEC)
        assert [one.streams for one in engine.devices()] == [0, 1]


def test_a_frame_that_fails_costs_no_device(tiny_bundle: BundleMaker) -> None:
    with _engine([tiny_bundle("raising")]) as engine:
        stream = engine.open(replace(SPEC, model="raising"))
        failed = engine.submit(stream, _movie(0)[0]).result(SECONDS)
        assert failed.status == "failed"
        assert [one.trouble for one in engine.devices()] == [None, None]


def test_a_frame_on_which_two_devices_were_lost_is_not_tried_on_a_third(
    bundles: list[Bundle], failing: Runner
) -> None:
    with _engine(bundles[:1], devices=3) as engine:
        stream, other = engine.open(SPEC), engine.open(SPEC)
        engine.submit(other, _movie(1)[0]).result(SECONDS)
        for number in (0, 2):  # the third has no stream yet, so it gets the first one's
            _break(engine, number, failing)
        failed, after = (one.result(SECONDS) for one in _submit(engine, stream, _movie(0)[:2]))
        assert (failed.status, failed.error) == (
            "failed",
            "2 devices were lost while they worked on this frame",
        )
        assert after.status == "done"
        assert [one.trouble is None for one in engine.devices()] == [False, True, False]
        again = engine.submit(other, replace(_movie(1)[0], seq=1, t=1)).result(SECONDS)
        assert (again.status, again.compared_seq) == ("done", 0)


def test_the_last_device_that_is_lost_leaves_nobody_waiting(bundles: list[Bundle], failing: Runner) -> None:
    with _engine(bundles[:1]) as engine:
        stream = engine.open(SPEC)
        for number in (0, 1):
            _break(engine, number, failing)
        futures = _submit(engine, stream, _movie(0))
        closed: Future[Counts] | None = None
        try:
            closed = engine.close(stream)
        except errors.Draining:
            pass  # it was lost already
        for future in [*futures, *([] if closed is None else [closed])]:
            with pytest.raises(errors.ServerError, match="is lost"):
                future.result(SECONDS)
        assert "no other device is left" in (engine.trouble() or "")
        with pytest.raises(errors.Draining):
            engine.open(SPEC)


def test_models_come_and_go_on_all_devices(bundles: list[Bundle], tiny_bundle: BundleMaker) -> None:
    with _engine(bundles[:1]) as engine:
        engine.serve(engine.prepare(tiny_bundle("identity")).result(SECONDS))
        streams = [engine.open(replace(SPEC, model="identity")) for _ in range(2)]
        assert [one.streams for one in engine.devices()] == [1, 1]
        said = [_all_said(_submit(engine, stream, _movie(3)[:2])) for stream in streams]
        assert said[0] == said[1]
        assert {one["status"] for one in said[0]} == {"done"}
        for stream in streams:
            engine.close(stream).result(SECONDS)
        engine.withdraw("identity")
        assert list(engine.models()) == ["blur"]


def test_what_a_plane_keeps_counts_with_its_raw_frame(bundles: list[Bundle]) -> None:
    limits = EngineLimits(plane_bytes=2 * (6 + 2) * SHAPE[0] * SHAPE[1])
    with _engine(bundles[:1], limits=limits) as engine:
        stream = engine.open(SPEC)
        for z in range(2):
            engine.submit(stream, replace(_movie(0)[z], plane=(0, z, 0)))
        with pytest.raises(errors.TooManyPlanes):
            engine.submit(stream, replace(_movie(0)[2], plane=(0, 2, 0)))


@pytest.mark.parametrize(
    ("devices", "said"),
    [([], "at least one device"), (["cuda:0", "cpu", "cuda:0"], "cuda:0 more than once"), (["gpu"], "'gpu'")],
)
def test_devices_that_cannot_be_are_refused(bundles: list[Bundle], devices: list[str], said: str) -> None:
    with pytest.raises(errors.DeviceUnavailable, match=said):
        LocalEngine(bundles, devices=devices)
