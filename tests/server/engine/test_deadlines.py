"""A frame that cannot be answered in time is answered by itself, and again so when it comes again.

No test waits for a clock: deadlines are ones that always or never can be kept, or it was decided before.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dimstream_models.bundle import Bundle
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import EngineResult, FrameTask, StreamSpec
from dimstream_server.engine.resume_state import Counts, PlaneRecord, ResumeState
from dimstream_server.engine.state_json import state_json, state_of
from dimstream_server.streams.journal import Entry, Journal

SHAPE = (24, 27)
NEVER, ALWAYS = 1e-6, 1e9  # can it be kept, ms
SPEC = StreamSpec("blur", SHAPE, "uint16", deliver_maps=True)
SECONDS = 60


@pytest.fixture(scope="module")
def engine(tiny_bundle: Callable[..., Bundle]) -> Iterator[LocalEngine]:
    engine = LocalEngine([tiny_bundle("blur")], threads=1)
    yield engine
    engine.drain().result(SECONDS)


def _task(seq: int, dtype: str = "uint16") -> FrameTask:
    field = np.random.default_rng(7).poisson(40, SHAPE) + np.random.default_rng(seq).integers(0, 2, SHAPE)
    return FrameTask(seq, field.astype(dtype), seq)


def _run(engine: LocalEngine, spec: StreamSpec, frames: range, state: ResumeState | None = None) -> Any:
    stream = engine.open(spec, state)
    futures = [engine.submit(stream, _task(seq, spec.in_dtype)) for seq in frames]
    results = [future.result(SECONDS) for future in futures]
    return results, engine.close(stream).result(SECONDS)


def test_what_cannot_be_in_time_is_the_raw_frame_and_says_so(engine: LocalEngine) -> None:
    results, counts = _run(engine, replace(SPEC, deadline_ms=NEVER), range(3))
    for seq, result in enumerate(results):
        assert (result.seq, result.status, result.flag, result.fallback) == (seq, "done", "unjudged", True)
        assert result.reason == "it would have missed its deadline, so this is the raw frame"
        np.testing.assert_array_equal(result.pixels, _task(seq).pixels)
        assert (result.quality, result.fractions, result.support, result.ssim_prev) == (None,) * 4
        assert (result.plane.predicted, result.plane.fallback) == (False, True)
    assert counts == Counts(done=3, unjudged=3)


def test_what_is_in_time_is_denoised_as_without_a_deadline(engine: LocalEngine) -> None:
    timed, _ = _run(engine, replace(SPEC, deadline_ms=ALWAYS), range(4))
    free, _ = _run(engine, SPEC, range(4))
    assert [one.fallback for one in timed] == [False] * 4
    assert [one.fallback for one in free] == [None] * 4
    for one, other in zip(timed, free, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert (one.flag, one.ssim_prev, one.quality) == (other.flag, other.ssim_prev, other.quality)


@pytest.mark.parametrize(
    ("in_dtype", "out_dtype"), [("uint8", "uint16"), ("uint16", "float32"), ("float32", "uint16")]
)
def test_a_raw_frame_has_the_type_that_was_asked_for(
    engine: LocalEngine, in_dtype: Any, out_dtype: Any
) -> None:
    spec = replace(SPEC, in_dtype=in_dtype, out_dtype=out_dtype, deadline_ms=NEVER)
    (result,), _ = _run(engine, spec, range(1))
    assert result.pixels.dtype == out_dtype
    np.testing.assert_array_equal(result.pixels, _task(0, in_dtype).pixels.astype(out_dtype))


def test_photons_that_uint16_cannot_hold_are_rounded_and_clipped(engine: LocalEngine) -> None:
    stream = engine.open(replace(SPEC, in_dtype="float32", deadline_ms=NEVER))
    pixels = np.resize(np.array([1.6, -3.0, 1e6], np.float32), SHAPE)
    result = engine.submit(stream, FrameTask(0, pixels, 0)).result(SECONDS)
    assert result.pixels is not None
    assert result.pixels.ravel()[:3].tolist() == [2, 0, 65535]
    engine.close(stream).result(SECONDS)


def test_the_frame_behind_a_raw_one_is_not_judged_by_it(engine: LocalEngine) -> None:
    decided = {0: False, 1: True, 2: False, 3: False}
    results, _ = _run(engine, replace(SPEC, deadline_ms=ALWAYS), range(4), _state(engine, (), decided))
    assert [one.fallback for one in results] == [False, True, False, False]
    assert results[2].reason == "the previous frame 1 was not denoised in time"
    assert (results[3].flag, results[3].compared_seq) == ("ok", 2)


def _state(
    engine: LocalEngine, planes: tuple[PlaneRecord, ...], decided: dict[int, bool], next_seq: int = 0
) -> ResumeState:
    limits = engine.models()["blur"].thresholds
    return ResumeState(next_seq, planes, Counts(done=next_seq), limits, decided=decided)


@pytest.mark.parametrize("deadline_ms", [NEVER, ALWAYS])
def test_who_comes_again_gets_what_was_decided_whatever_the_clock_says(
    engine: LocalEngine, deadline_ms: float, tmp_path: Any
) -> None:
    decided = {0: False, 1: True, 2: False, 3: True, 4: False}
    spec = replace(SPEC, deadline_ms=ALWAYS)
    before, _ = _run(engine, spec, range(5), _state(engine, (), decided))
    journal = Journal(tmp_path / "journal.sqlite")
    journal.begin(Entry("s", b"", "", b"", "blur", "f" * 64, "none", 0.0))
    for result in before:
        journal.answered("s", result, indexed=False)
    journal.close()

    journal = Journal(tmp_path / "journal.sqlite")
    for _ in range(2):  # broken off again before anything was answered
        snapshot = journal.snapshot("s", 2)
    assert snapshot.decided == {2: False, 3: True, 4: False}
    limits = engine.models()["blur"].thresholds
    state = ResumeState(2, snapshot.planes, snapshot.counts, limits, decided=snapshot.decided)
    again, _ = _run(engine, replace(SPEC, deadline_ms=deadline_ms), range(2, 5), state)
    for one, other in zip(again, before[2:], strict=True):
        assert (one.fallback, one.flag, one.reason) == (other.fallback, other.flag, other.reason)
        np.testing.assert_array_equal(one.pixels, other.pixels)
    journal.acknowledged("s", 4)
    assert journal.snapshot("s", 4).decided == {4: False}
    journal.close()


def test_what_is_handed_to_another_server_tells_a_raw_frame(engine: LocalEngine) -> None:
    results, _ = _run(engine, replace(SPEC, deadline_ms=NEVER), range(1))
    result: EngineResult = results[0]
    assert result.plane is not None
    told = json.loads(json.dumps(state_json(_state(engine, (result.plane,), {}, next_seq=1))))
    assert state_of(told).planes[0].fallback
