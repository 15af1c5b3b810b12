"""Models that come and go while an engine works: no stream notices, and none loses the one that it uses."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from dimstream_models.bundle import Bundle, ScaleLinear, TestTensorMismatch
from dimstream_server import errors
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import FrameTask, StreamSpec

BundleMaker = Callable[..., Bundle]
SHAPE = (24, 32)
SECONDS = 60


@pytest.fixture
def engine(tiny_bundle: BundleMaker) -> Iterator[LocalEngine]:
    engine = LocalEngine([tiny_bundle("blur")], threads=1)
    yield engine
    engine.drain().result(SECONDS)


def frame(seq: int) -> Any:
    return np.random.default_rng(seq).poisson(9, SHAPE).astype(np.uint16)


def denoise(engine: LocalEngine, stream: str, seq: int) -> Any:
    return engine.submit(stream, FrameTask(seq, frame(seq), seq)).result(SECONDS)


def load(engine: LocalEngine, bundle: Bundle) -> None:
    engine.serve(engine.prepare(bundle).result(SECONDS))


def test_a_stream_gets_the_same_pixels_while_models_come_and_go(
    engine: LocalEngine, tiny_bundle: BundleMaker
) -> None:
    done = threading.Event()
    gains = []

    def change() -> None:
        try:
            for gain in (1.0, 2.0, 3.0):
                load(engine, tiny_bundle("identity", postprocessing=(ScaleLinear(gain, 0.0),)))
                other = engine.open(StreamSpec("identity", SHAPE, "uint16"))
                np.testing.assert_array_equal(denoise(engine, other, 0).pixels, gain * frame(0))
                engine.close(other).result(SECONDS)
                gains.append(gain)
            engine.withdraw("identity")
        finally:
            done.set()

    thread = threading.Thread(target=change)
    thread.start()
    stream = engine.open(StreamSpec("blur", SHAPE, "uint16"))
    busy = []
    while not done.is_set():
        busy.append(denoise(engine, stream, len(busy)))
    thread.join(SECONDS)
    assert (gains, list(engine.models())) == ([1.0, 2.0, 3.0], ["blur"])
    again = engine.open(StreamSpec("blur", SHAPE, "uint16"))
    for seq, one in enumerate(busy):
        alone = denoise(engine, again, seq)
        assert (one.flag, one.reason, one.ssim_prev) == (alone.flag, alone.reason, alone.ssim_prev)
        np.testing.assert_array_equal(one.pixels, alone.pixels)


def test_what_is_used_is_neither_replaced_nor_withdrawn(
    engine: LocalEngine, tiny_bundle: BundleMaker
) -> None:
    load(engine, tiny_bundle("identity"))
    stream = engine.open(StreamSpec("blur", SHAPE, "uint16"))
    denoise(engine, stream, 0)
    other = engine.prepare(tiny_bundle("blur", postprocessing=(ScaleLinear(9.0, 0.0),))).result(SECONDS)
    with pytest.raises(errors.ModelInUse, match="1 streams or requests use blur"):
        engine.serve(other)
    with pytest.raises(errors.ModelInUse):
        engine.withdraw("blur")
    engine.update(stream, 1, model="identity").result(SECONDS)
    for model in ("blur", "identity"):  # one is in force, the other will be
        with pytest.raises(errors.ModelInUse):
            engine.withdraw(model)
    assert denoise(engine, stream, 1).model_id == "identity"
    engine.withdraw("blur")
    assert denoise(engine, stream, 2).model_id == "identity"
    with pytest.raises(errors.UnknownModel):
        engine.open(StreamSpec("blur", SHAPE, "uint16"))


def test_an_update_that_will_not_happen_does_not_hold_its_model(tiny_bundle: BundleMaker) -> None:
    halving = tiny_bundle("halving", test_output=np.full((1, 1, 8, 8), 1, np.float32))
    engine = LocalEngine(
        [tiny_bundle("blur"), tiny_bundle("identity"), halving], threads=1, pairs_at_start=()
    )
    stream = engine.open(StreamSpec("blur", SHAPE, "uint16"))
    denoise(engine, stream, 0)
    with pytest.raises(errors.BadUpdate):
        engine.update(stream, 0, model="identity").result(SECONDS)
    with pytest.raises(errors.UnsupportedNetwork):  # which is found when it is made ready
        engine.update(stream, 1, model="halving").result(SECONDS)
    engine.withdraw("identity")
    engine.withdraw("halving")
    engine.update(stream, 1, thresholds={"ssim": 0.5}).result(SECONDS)
    load(engine, tiny_bundle("identity"))
    assert denoise(engine, stream, 1).model_id == "blur"
    with pytest.raises(errors.ModelInUse):
        engine.withdraw("blur")
    engine.drain().result(SECONDS)


def test_a_model_that_is_back_is_the_new_one(engine: LocalEngine, tiny_bundle: BundleMaker) -> None:
    load(engine, tiny_bundle("identity"))
    for gain in (1.0, 2.0, 3.0):
        load(engine, tiny_bundle("identity", postprocessing=(ScaleLinear(gain, 0.0),)))
        for in_dtype in ("uint16", "float32"):  # the latter is made ready when a stream wants it
            spec = StreamSpec("identity", SHAPE, in_dtype)  # type: ignore[arg-type]
            stream = engine.open(spec)
            result = engine.submit(stream, FrameTask(0, frame(0).astype(in_dtype), 0)).result(SECONDS)
            np.testing.assert_array_equal(result.pixels, gain * frame(0))
            engine.close(stream).result(SECONDS)
        engine.withdraw("identity")
    assert "identity" not in engine.models()


@pytest.mark.slow
def test_the_memory_of_a_model_goes_with_it(engine: LocalEngine, tiny_bundle: BundleMaker) -> None:
    prepared = engine.prepare(tiny_bundle("identity")).result(SECONDS)
    held = [weakref.ref(model.fused) for model in prepared.ready["cpu"].values()]
    engine.serve(prepared)
    del prepared
    stream = engine.open(StreamSpec("identity", SHAPE, "uint16"))
    denoise(engine, stream, 0)
    engine.close(stream).result(SECONDS)
    assert all(one() is not None for one in held)
    engine.withdraw("identity")
    stream = engine.open(StreamSpec("blur", SHAPE, "uint16"))
    denoise(engine, stream, 0)  # behind which the device thread has let go of it
    gc.collect()
    assert [one() for one in held] == [None]


def test_what_does_not_do_what_it_says_is_not_served(engine: LocalEngine, tiny_bundle: BundleMaker) -> None:
    wrong = tiny_bundle("identity", test_output=np.full((1, 1, 16, 16), 50, np.float32))
    with pytest.raises(TestTensorMismatch):
        engine.prepare(wrong).result(SECONDS)
    assert list(engine.models()) == ["blur"]
    with pytest.raises(errors.ModelInUse, match="the only served model"):
        engine.withdraw("blur")
    with pytest.raises(errors.UnknownModel):
        engine.withdraw("identity")


def test_an_engine_that_stops_takes_no_more_models(engine: LocalEngine, tiny_bundle: BundleMaker) -> None:
    prepared = engine.prepare(tiny_bundle("identity")).result(SECONDS)
    engine.drain().result(SECONDS)
    with pytest.raises(errors.Draining):
        engine.serve(prepared)
    with pytest.raises(errors.Draining):
        engine.prepare(tiny_bundle("identity"))
    with pytest.raises(errors.Draining):
        engine.withdraw("blur")
