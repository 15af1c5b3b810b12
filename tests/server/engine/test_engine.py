"""The engine answers every frame once, in order, fairly, and says what it compared."""

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dimstream_client.quality import Fractions, Thresholds
from dimstream_models.bundle import Bundle
from dimstream_models.judging import raw_findings
from dimstream_server import errors
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import (
    Engine,
    EngineLimits,
    EngineResult,
    FrameTask,
    StreamSpec,
)
from dimstream_server.engine.resume_state import Counts
from dimstream_server.engine.stream_state import Gap
from dimstream_server.engine.thread_commands import Append

BundleMaker = Callable[..., Bundle]
SHAPE = (24, 27)
SPEC = StreamSpec("blur", SHAPE, "uint16")
LIMITS = EngineLimits(streams=4, queued_per_stream=40, queued=100, planes_per_stream=4, frame_pixels=10_000)
SECONDS = 30


@pytest.fixture(scope="module")
def engine(tiny_bundle: BundleMaker) -> Iterator[Engine]:
    bundles = [tiny_bundle(kind) for kind in ("identity", "blur", "nan", "raising")]
    bundles.append(tiny_bundle("blur", id="unsure", threshold=None, sha256="f" * 64))
    engine = LocalEngine(bundles, limits=LIMITS, threads=1)
    yield engine
    engine.drain().result(SECONDS)


@pytest.fixture
def stream(engine: Engine) -> Iterator[str]:
    yield from _opened(engine, SPEC)


def _opened(engine: Engine, spec: StreamSpec) -> Iterator[str]:
    stream = engine.open(spec)
    yield stream
    try:
        engine.close(stream).result(SECONDS)
    except (errors.UnknownStream, errors.StreamClosed):
        pass  # the test closed it


def _frame(seq: int = 0, dtype: str = "uint16") -> Any:
    """Nearly the same field in every frame."""
    field = np.random.default_rng(7).poisson(40, SHAPE) + np.random.default_rng(seq).integers(0, 2, SHAPE)
    return field.astype(dtype)


def _task(seq: int, *, pixels: Any = None, t: int | None = None, **fields: Any) -> FrameTask:
    return FrameTask(seq, _frame(seq) if pixels is None else pixels, seq if t is None else t, **fields)


def _run(engine: Engine, stream: str, *tasks: FrameTask) -> list[EngineResult]:
    futures = [engine.submit(stream, task) for task in tasks]
    return [future.result(SECONDS) for future in futures]


class _Gate:
    """Holds the device thread, inside the callback of a frame of a stream of its own, until it is opened."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._stream = engine, engine.open(SPEC)
        self._opened, self._held, self._called = threading.Event(), threading.Event(), threading.Event()
        for seq in itertools.count():  # a callback that comes too late runs on this thread and holds nothing
            self._called.clear()
            engine.submit(self._stream, _task(seq)).add_done_callback(self._hold)
            assert self._called.wait(SECONDS)
            if self._held.is_set():
                return

    def _hold(self, _: Future[EngineResult]) -> None:
        on_device = threading.current_thread().name == "dimstream-device-cpu"
        if on_device:
            self._held.set()
        self._called.set()
        if on_device:
            assert self._opened.wait(SECONDS)

    def release(self) -> None:
        self._opened.set()

    def open(self) -> None:
        self.release()
        self._engine.close(self._stream).result(SECONDS)


@pytest.mark.slow
def test_a_small_frame_does_not_wait_for_the_large_ones_of_others(tiny_bundle: BundleMaker) -> None:
    """It used to wait for one frame of each of the others, however long those took."""
    limits = EngineLimits(streams=20, queued_per_stream=8, queued=100)
    engine = LocalEngine([tiny_bundle("blur")], limits=limits, threads=1)
    large = replace(SPEC, shape=(400, 400))
    pixels = np.random.default_rng(0).poisson(3.0, large.shape).astype(np.uint16)
    done: list[int] = []
    futures = []
    for _ in range(15):
        stream = engine.open(large)
        for seq in range(3):
            futures.append(engine.submit(stream, FrameTask(seq, pixels, seq)))
            futures[-1].add_done_callback(lambda _: done.append(1))
    passed = []
    for _ in range(3):
        small = engine.open(SPEC)
        before = len(done)
        engine.submit(small, _task(0)).result(SECONDS)
        passed.append(len(done) - before)
    assert len(done) < len(futures)  # else there was nothing to wait for
    assert sorted(passed)[1] <= 3  # of 15: the one that ran, and those that were done before it was asked for
    wait(futures, SECONDS)
    engine.drain().result(SECONDS)


@pytest.mark.slow
def test_a_stream_that_is_closed_ends_before_new_ones_have_their_turns(tiny_bundle: BundleMaker) -> None:
    """Streams of one frame, as HTTP opens them, filled the engine with streams that waited for their end."""
    limits = EngineLimits(streams=16, queued_per_stream=8, queued=100)
    engine = LocalEngine([tiny_bundle("blur")], limits=limits, threads=1)
    refused: list[Exception] = []

    def one_frame_after_another() -> None:
        for _ in range(100):
            try:
                stream = engine.open(SPEC)
            except errors.TooManyStreams as error:
                refused.append(error)
                return
            _run(engine, stream, _task(0))
            engine.close(stream)

    threads = [threading.Thread(target=one_frame_after_another) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    engine.drain().result(SECONDS)
    assert not refused


def test_a_movie_comes_back_in_order_and_judged(engine: Engine, stream: str) -> None:
    results = _run(engine, stream, *(_task(seq) for seq in range(6)))
    assert [result.seq for result in results] == list(range(6))
    first, *others = results
    assert (first.flag, first.reason, first.ssim_prev, first.compared_seq) == (
        "unjudged",
        "first frame",
        None,
        None,
    )
    assert [result.compared_seq for result in others] == [0, 1, 2, 3, 4]
    assert {(result.status, result.flag, result.reason) for result in others} == {("done", "ok", None)}
    assert all(0.6 < (result.ssim_prev or 0) <= 1 for result in others)
    assert first.fractions == Fractions(0, 0, 1)
    assert first.model_sha256 == engine.models()["blur"].sha256
    assert first.device == engine.device().name == "cpu"
    assert first.pixels is not None
    assert (first.pixels.dtype, first.pixels.shape) == (np.uint16, SHAPE)
    assert all(r.t_ms.total >= r.t_ms.infer > 0 and r.t_ms.queue >= 0 for r in results)


def test_a_frame_unlike_the_last_is_suspect(engine: Engine, stream: str) -> None:
    noise = np.random.default_rng(5).poisson(1, SHAPE).astype(np.uint16)
    _, second, blank = _run(
        engine, stream, _task(0), _task(1, pixels=noise), _task(2, pixels=np.zeros_like(noise))
    )
    assert second.flag == "suspect"
    assert second.reason is not None
    assert re.fullmatch(r"SSIM -?0\.\d\d below 0\.60", second.reason)
    assert (blank.flag, blank.reason) == ("suspect", "blank frame: every pixel is 0")


def test_each_plane_has_a_memory_of_its_own(engine: Engine, stream: str) -> None:
    planes = [(c, z, 0) for c in range(2) for z in range(2)]
    tasks = [_task(4 * t + place, t=t, plane=plane) for t in range(3) for place, plane in enumerate(planes)]
    results = _run(engine, stream, *tasks)
    assert [result.compared_seq for result in results] == [None] * 4 + list(range(8))
    assert {result.reason for result in results[:4]} == {"first frame"}


def test_after_a_gap_the_same_sample_is_known_again_and_another_proves_nothing(
    engine: Engine, stream: str
) -> None:
    _run(engine, stream, _task(0))
    engine.skip(stream, 1, 3)
    noise = np.random.default_rng(5).poisson(1, SHAPE).astype(np.uint16)
    after, other = _run(engine, stream, _task(4), _task(8, pixels=noise))
    assert (after.flag, after.reason, after.compared_seq) == ("ok", None, 0)
    assert (other.flag, other.compared_seq) == ("unjudged", 4)
    assert other.reason is not None
    assert re.fullmatch(
        r"gap: frames 5-7 skipped; SSIM -?0\.\d\d below 0\.60, which may be motion", other.reason
    )
    assert engine.close(stream).result(SECONDS) == Counts(done=3, skipped=3, ok=1, unjudged=2)


@pytest.mark.parametrize(("kind", "error"), [("nan", "NaN or infinity"), ("raising", "the model raised")])
def test_a_failed_frame_is_answered_and_forgotten(engine: Engine, kind: str, error: str) -> None:
    marked = _frame(1)
    marked[:2, :2] = 999
    stream = engine.open(replace(SPEC, model=kind))
    _, failed, after, later = _run(engine, stream, _task(0), _task(1, pixels=marked), _task(2), _task(3))
    assert (failed.status, failed.flag, failed.pixels) == ("failed", "unjudged", None)
    assert failed.error is not None
    assert error in failed.error
    assert (after.status, after.flag, after.reason) == ("done", "unjudged", "the previous frame 1 failed")
    assert (later.flag, later.compared_seq) == ("ok", 2)
    assert engine.close(stream).result(SECONDS) == Counts(done=3, failed=1, ok=1, unjudged=3)


def test_without_a_threshold_no_frame_is_judged(engine: Engine) -> None:
    stream = engine.open(replace(SPEC, model="unsure"))
    second = _run(engine, stream, _task(0), _task(1))[1]
    assert (second.flag, second.reason) == ("unjudged", "no SSIM threshold in the bundle")
    assert (second.compared_seq, second.ssim_prev is not None) == (0, True)
    engine.close(stream).result(SECONDS)


@pytest.mark.parametrize("out_dtype", ["uint16", "float32"])
@pytest.mark.parametrize("in_dtype", ["uint8", "uint16", "float32"])
def test_every_pair_of_pixel_types_gives_the_same_counts(
    engine: Engine, in_dtype: Any, out_dtype: Any
) -> None:
    stream = engine.open(replace(SPEC, model="identity", in_dtype=in_dtype, out_dtype=out_dtype))
    result = _run(engine, stream, _task(0, pixels=_frame(0, in_dtype)))[0]
    assert result.pixels is not None
    assert result.pixels.dtype == out_dtype
    np.testing.assert_array_equal(result.pixels, 3 * _frame(0) + 1)
    engine.close(stream).result(SECONDS)


def test_a_stream_that_wants_flags_gets_no_pixels(engine: Engine) -> None:
    stream = engine.open(replace(SPEC, deliver_pixels=False))
    assert _run(engine, stream, _task(0))[0].pixels is None
    engine.close(stream).result(SECONDS)


def test_streams_take_turns_and_keep_their_order(engine: Engine) -> None:
    """One stream has 20 frames waiting before the others have 5 each: they do not wait for all of them."""
    order: list[tuple[str, int]] = []
    streams = {name: engine.open(replace(SPEC, model=name)) for name in ("identity", "blur", "nan")}
    gate = _Gate(engine)
    futures = []
    for name, count in (("identity", 20), ("blur", 5), ("nan", 5)):
        for seq in range(count):
            futures.append(engine.submit(streams[name], _task(seq)))
            futures[-1].add_done_callback(lambda future, name=name: order.append((name, future.result().seq)))
    assert engine.queue_length() == 30
    gate.open()
    wait(futures, SECONDS)
    for name in streams:
        seqs = [seq for who, seq in order if who == name]
        assert seqs == sorted(seqs)
    assert len(order) == 30
    assert {who for who, _ in order[:10]} == set(streams)
    assert engine.queue_length() == 0
    for stream in streams.values():
        engine.close(stream).result(SECONDS)


def test_a_new_model_starts_with_its_frame(engine: Engine, stream: str) -> None:
    gate = _Gate(engine)
    futures = [engine.submit(stream, _task(seq)) for seq in range(5)]
    changed = engine.update(stream, 3, model="identity")
    gate.open()
    in_force = changed.result(SECONDS)
    assert (in_force.from_seq, in_force.model.id) == (3, "identity")
    results = [future.result(SECONDS) for future in futures]
    assert [result.model_id for result in results] == ["blur", "blur", "blur", "identity", "identity"]
    assert [result.reason for result in results] == ["first frame", None, None, "model changed", None]


def test_new_thresholds_start_with_their_frame(engine: Engine, stream: str) -> None:
    strict = {"ssim": 1.0, "background_max": 1e5, "signal_min": 2e5, "structure_score": -1e6}
    in_force = engine.update(stream, 2, thresholds=strict).result(SECONDS)
    assert in_force.thresholds == Thresholds(
        ssim=1.0, background_max=1e5, signal_min=2e5, structure_score=-1e6
    )
    _, before, after = _run(engine, stream, _task(0), _task(1), _task(2))
    assert (before.flag, before.fractions) == ("ok", Fractions(0, 0, 1))
    assert (after.flag, after.fractions) == ("suspect", Fractions(1, 0, 0))
    assert after.compared_seq == 1


def test_an_update_keeps_what_an_earlier_one_that_waits_will_have_changed(
    engine: Engine, stream: str
) -> None:
    first = engine.update(stream, 2, thresholds={"ssim": 0.125})
    second = engine.update(stream, 4, thresholds={"signal_min": 30.0})
    assert first.result(SECONDS).thresholds.ssim == 0.125
    assert second.result(SECONDS).thresholds == Thresholds(
        ssim=0.125, background_max=5.0, signal_min=30.0, structure_score=-1e6
    )


@pytest.mark.parametrize(
    "new",
    [{"background_max": 26.0}, {"background_max": -1.0}, {"signal_min": 1e299}],
)
def test_thresholds_that_contradict_each_other_are_refused(
    engine: Engine, stream: str, new: dict[str, float]
) -> None:
    with pytest.raises(errors.BadUpdate, match="0 <= background_max <= signal_min"):
        engine.update(stream, 0, thresholds=new).result(SECONDS)
    assert _run(engine, stream, _task(0))[0].status == "done"


def test_an_update_for_a_frame_that_is_done_is_refused(engine: Engine, stream: str) -> None:
    _run(engine, stream, _task(0), _task(1))
    with pytest.raises(errors.BadUpdate, match="at least 2, got 1"):
        engine.update(stream, 1, model="identity").result(SECONDS)
    with pytest.raises(errors.BadUpdate, match="got neither"):
        engine.update(stream, 5)
    with pytest.raises(errors.UnknownModel, match="no model 'none'"):
        engine.update(stream, 5, model="none")


def test_a_cancelled_frame_is_not_denoised(engine: Engine, stream: str) -> None:
    gate = _Gate(engine)
    first, cancelled, kept = (engine.submit(stream, _task(seq)) for seq in range(3))
    assert cancelled.cancel()
    gate.open()
    assert first.result(SECONDS).status == "done"
    assert (kept.result(SECONDS).flag, kept.result(SECONDS).compared_seq) == ("ok", 0)
    assert engine.queue_length() == 0


REFUSED_FRAMES: dict[str, tuple[Any, type[errors.Refused]]] = {
    "shape": (np.zeros((24, 26), np.uint16), errors.WrongShape),
    "dimensions": (np.zeros((1, 24, 27), np.uint16), errors.WrongShape),
    "dtype": (np.zeros(SHAPE, np.uint8), errors.WrongDtype),
    "byte order": (np.zeros(SHAPE, ">u2"), errors.WrongDtype),
}


@pytest.mark.parametrize(("pixels", "error"), REFUSED_FRAMES.values(), ids=REFUSED_FRAMES)
def test_frames_that_do_not_fit_their_stream_are_refused(
    engine: Engine, stream: str, pixels: Any, error: type[errors.Refused]
) -> None:
    with pytest.raises(error, match=r"its stream was opened with"):
        engine.submit(stream, _task(0, pixels=pixels))
    assert _run(engine, stream, _task(0))[0].status == "done"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_frames_that_are_not_finite_are_refused(engine: Engine, value: float) -> None:
    stream = engine.open(replace(SPEC, in_dtype="float32"))
    pixels = _frame(0, "float32")
    pixels[3, 4] = value
    with pytest.raises(errors.NotFinite, match="NaN or infinity"):
        engine.submit(stream, _task(0, pixels=pixels))
    engine.close(stream).result(SECONDS)


REFUSED_SPECS: dict[str, tuple[dict[str, Any], type[errors.Refused]]] = {
    "model": ({"model": "none"}, errors.UnknownModel),
    "too small": ({"shape": (7, 100)}, errors.WrongShape),
    "too large": ({"shape": (101, 100)}, errors.Oversize),
    "in": ({"in_dtype": "int16"}, errors.WrongDtype),
    "out": ({"out_dtype": "uint8"}, errors.WrongDtype),
}


@pytest.mark.parametrize(("changes", "error"), REFUSED_SPECS.values(), ids=REFUSED_SPECS)
def test_streams_that_cannot_be_served_are_refused(
    engine: Engine, changes: dict[str, Any], error: type[errors.Refused]
) -> None:
    with pytest.raises(error):
        engine.open(replace(SPEC, **changes))


def test_queues_and_streams_are_bounded(engine: Engine) -> None:
    gate = _Gate(engine)
    streams = [engine.open(SPEC) for _ in range(LIMITS.streams - 1)]
    with pytest.raises(errors.TooManyStreams, match="4 streams are open"):
        engine.open(SPEC)
    for stream in streams[1:]:
        for seq in range(LIMITS.queued_per_stream):
            engine.submit(stream, _task(seq))
        with pytest.raises(errors.StreamQueueFull, match="40 frames of this stream"):
            engine.submit(stream, _task(40))
    for seq in range(20):
        engine.submit(streams[0], _task(seq))
    with pytest.raises(errors.ServerBusy, match="100 frames of all streams"):
        engine.submit(streams[0], _task(20))
    gate.open()
    counts = [engine.close(stream).result(SECONDS) for stream in streams]
    assert [count.done for count in counts] == [20, 40, 40]


def test_a_plane_too_many_is_refused(engine: Engine, stream: str) -> None:
    _run(engine, stream, *(_task(z, t=0, plane=(0, z, 0)) for z in range(4)))
    with pytest.raises(errors.TooManyPlanes, match=r"4 \(channel, z, position\) planes"):
        engine.submit(stream, _task(4, t=0, plane=(0, 4, 0)))
    assert _run(engine, stream, _task(4, t=1))[0].compared_seq == 0


def test_the_planes_of_all_streams_keep_bounded_bytes(tiny_bundle: BundleMaker) -> None:
    limits = replace(LIMITS, plane_bytes=3 * 6 * SPEC.shape[0] * SPEC.shape[1])
    engine = LocalEngine([tiny_bundle()], limits=limits, threads=1)
    first, second = engine.open(SPEC), engine.open(SPEC)
    _run(engine, first, _task(0, t=0, plane=(0, 0, 0)), _task(1, t=0, plane=(0, 1, 0)))
    _run(engine, second, _task(0, t=0, plane=(0, 0, 0)))
    with pytest.raises(errors.TooManyPlanes, match="may use"):
        engine.submit(second, _task(1, t=0, plane=(0, 1, 0)))
    engine.close(first).result(SECONDS)
    assert _run(engine, second, _task(1, t=0, plane=(0, 1, 0)))[0].status == "done"
    engine.drain().result(SECONDS)


def test_a_closed_stream_takes_nothing_more(engine: Engine) -> None:
    stream = engine.open(SPEC)
    gate = _Gate(engine)
    engine.submit(stream, _task(0))
    counts = engine.close(stream)
    for refused in (
        lambda: engine.submit(stream, _task(1)),
        lambda: engine.skip(stream, 1, 2),
        lambda: engine.close(stream),
        lambda: engine.update(stream, 3, model="blur"),
    ):
        with pytest.raises(errors.StreamClosed):
            refused()
    gate.open()
    assert counts.result(SECONDS).done == 1
    with pytest.raises(errors.UnknownStream):
        engine.submit(stream, _task(1))


def test_draining_answers_everything_and_then_stops(tiny_bundle: BundleMaker) -> None:
    engine = LocalEngine([tiny_bundle()], threads=1)
    stream = engine.open(replace(SPEC, in_dtype="uint8"))  # its graph is composed while its frames wait
    futures = [engine.submit(stream, _task(seq, pixels=_frame(seq, "uint8"))) for seq in range(5)]
    closed, drained = engine.close(stream), engine.drain()
    with pytest.raises(errors.Draining):
        engine.open(SPEC)
    drained.result(SECONDS)
    assert [future.result(0).status for future in futures] == ["done"] * 5
    assert closed.result(0).done == 5
    engine.drain().result(0)
    with pytest.raises(errors.Draining):
        engine.close(stream)


def test_a_model_that_cannot_be_made_ready_fails_its_frames_only(tiny_bundle: BundleMaker) -> None:
    """Without pairs at the start, the bad network is met when a stream wants it."""
    halving = tiny_bundle("halving", test_output=np.full((1, 1, 8, 8), 1, np.float32))
    engine = LocalEngine([halving, tiny_bundle("blur")], threads=1, pairs_at_start=())
    bad, good = engine.open(replace(SPEC, model="halving")), engine.open(SPEC)
    failed, done = _run(engine, bad, _task(0))[0], _run(engine, good, _task(0))[0]
    assert (failed.status, done.status) == ("failed", "done")
    assert failed.error is not None
    assert "only networks that keep the size" in failed.error
    with pytest.raises(errors.UnsupportedNetwork):
        engine.update(good, 1, model="halving").result(SECONDS)
    after = _run(engine, good, _task(1))[0]
    assert (after.model_id, after.flag) == ("blur", "ok")
    engine.drain().result(SECONDS)


def test_a_fault_in_what_is_found_beside_the_network_costs_one_frame(
    engine: Engine, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(raw_findings, "has_outlier", lambda photons: photons.no_such_thing)
        failed = _run(engine, stream, _task(0))[0]
    assert failed.error == "internal error (AttributeError); see the server's log"
    assert _run(engine, stream, _task(1))[0].status == "done"


def test_a_fault_of_the_engine_costs_one_frame(engine: Engine, stream: str) -> None:
    _run(engine, stream, _task(0))
    failed, after = _run(engine, stream, replace(_task(1), t="later"), _task(2))  # type: ignore[arg-type]
    assert failed.error == "internal error (TypeError); see the server's log"
    assert after.reason == "the previous frame 1 failed"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_device_thread_leaves_nobody_waiting(tiny_bundle: BundleMaker) -> None:
    engine = LocalEngine([tiny_bundle()], threads=1)
    gate = _Gate(engine)
    stream = engine.open(SPEC)
    engine._devices.threads[0].commands.put(Append("no such stream", Gap(0, 0)))
    promised = [engine.submit(stream, _task(0)), engine.update(stream, 1, model="blur"), engine.close(stream)]
    gate.release()
    for future in promised:
        with pytest.raises(errors.ServerError, match="the device thread died"):
            future.result(SECONDS)
    with pytest.raises(errors.Draining):
        engine.open(SPEC)
    engine._devices.threads[0]._thread.join(SECONDS)  # so that its last words belong to this test


def test_live_frames_go_before_batch_frames_that_came_first(engine: Engine) -> None:
    order: list[str] = []
    batch, live = engine.open(replace(SPEC, priority="batch")), engine.open(SPEC)
    gate = _Gate(engine)
    futures = []
    for stream, name in ((batch, "b"), (live, "l")):
        for seq in range(4):
            futures.append(engine.submit(stream, _task(seq)))
            futures[-1].add_done_callback(lambda _, name=name: order.append(name))
    gate.open()
    assert {future.result(SECONDS).status for future in futures} == {"done"}
    assert "".join(order) == "llllbbbb"
    for stream in (batch, live):
        engine.close(stream).result(SECONDS)


def test_a_heavier_stream_has_more_turns(engine: Engine) -> None:
    order: list[str] = []
    streams = {weight: engine.open(replace(SPEC, weight=weight)) for weight in (1, 8)}
    for stream in streams.values():
        _run(engine, stream, _task(0))  # so that their turns are measured
    gate = _Gate(engine)
    futures = []
    for weight, stream in streams.items():
        for seq in range(1, 17):
            futures.append(engine.submit(stream, _task(seq)))
            futures[-1].add_done_callback(lambda _, weight=weight: order.append(str(weight)))
    gate.open()
    wait(futures, SECONDS)
    assert "".join(order)[:10].count("8") >= 6
    for stream in streams.values():
        engine.close(stream).result(SECONDS)
