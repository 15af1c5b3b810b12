"""A device that waits is kept warm, and streams do not notice."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dimstream_client.quality import Thresholds, Times
from dimstream_models.bundle import Bundle
from dimstream_server.engine.keep_warm import KeepWarm
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import EngineResult, FrameTask, StreamSpec
from dimstream_server.pipeline.device_name import Device
from dimstream_server.pipeline.fused_model import FusedModel

BundleMaker = Callable[..., Bundle]
SHAPE = (32, 40)
LONGEST_S = 60.0


def _results(bundle: Bundle, keep_warm_s: float | None) -> tuple[list[EngineResult], int]:
    engine = LocalEngine([bundle], threads=1, keep_warm_s=keep_warm_s)
    (thread,) = engine._devices.threads
    stream, results = engine.open(StreamSpec(bundle.id, SHAPE, "uint16")), []
    for seq in range(4):
        frame = np.random.default_rng(seq).poisson(9, SHAPE).astype(np.uint16)
        results.append(engine.submit(stream, FrameTask(seq, frame, seq)).result(LONGEST_S))
        if keep_warm_s is not None:
            _wait_for(lambda ran=thread.warm.runs: thread.warm.runs > ran + 1)
    engine.close(stream).result(LONGEST_S)
    engine.drain().result(LONGEST_S)
    return results, thread.warm.runs


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_streams_get_the_same_with_empty_frames_between(tiny_bundle: BundleMaker) -> None:
    warm, runs = _results(tiny_bundle("blur"), 0.01)
    cold, none = _results(tiny_bundle("blur"), None)
    assert (runs >= 8, none) == (True, 0)
    for one, other in zip(warm, cold, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        same = {"pixels": None, "t_ms": Times(0, 0, 0)}
        assert replace(one, **same) == replace(other, **same)


def test_a_device_without_streams_rests(tiny_bundle: BundleMaker) -> None:
    engine = LocalEngine([tiny_bundle("blur")], threads=1, keep_warm_s=0.01)
    (thread,) = engine._devices.threads
    stream = engine.open(StreamSpec("blur", SHAPE, "uint16"))
    engine.submit(stream, FrameTask(0, np.ones(SHAPE, np.uint16), 0)).result(LONGEST_S)
    _wait_for(lambda: thread.warm.runs > 0)
    engine.close(stream).result(LONGEST_S)
    assert thread.warm.wait_s(0) is None
    engine.drain().result(LONGEST_S)


def test_it_is_time_when_nothing_was_done_for_a_while(tiny_bundle: BundleMaker) -> None:
    model = FusedModel(tiny_bundle("blur"), device=Device(), in_dtype="uint16", out_dtype="uint16", threads=1)
    warm = KeepWarm(2.0)
    assert warm.wait_s(10) is None
    warm.worked(10, model, (16, 24), "uint16")
    assert warm.wait_s(11.5) == pytest.approx(0.5)
    warm.run_when_due(11.5)
    assert warm.runs == 0
    warm.run_when_due(12)
    assert (warm.runs, warm.wait_s(12)) == (1, 2.0)


def test_a_model_that_fails_is_not_asked_again(
    tiny_bundle: BundleMaker, caplog: pytest.LogCaptureFixture
) -> None:
    model = FusedModel(tiny_bundle("blur"), device=Device(), in_dtype="uint16", out_dtype="uint16", threads=1)
    model.run(np.ones((16, 24), np.uint16), None, Thresholds(ssim=None))
    warm = KeepWarm(2.0)
    warm.worked(0, model, (0, 24), "uint16")  # there is no such frame
    warm.run_when_due(5)
    assert warm.wait_s(9) is None
    assert "event=keep_warm_failed" in caplog.text
