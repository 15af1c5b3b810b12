"""A stream that is broken off and goes on gives what it would have given: pixels, SSIM, flags and counts."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from dimstream_client.quality import Thresholds
from dimstream_models.bundle import Bundle
from dimstream_server import errors
from dimstream_server.engine.local_engine import LocalEngine
from dimstream_server.engine.protocol import Engine, EngineResult, FrameTask, StreamSpec
from dimstream_server.engine.resume_state import Counts, PlaneRecord, ResumeState

SHAPE = (40, 44)
SPEC = StreamSpec("blur", SHAPE, "uint16", deliver_maps=True)
THRESHOLDS = Thresholds(ssim=0.6, structure_score=5.0)
SECONDS = 30


@pytest.fixture(scope="module")
def engine(tiny_bundle: Callable[..., Bundle]) -> Iterator[Engine]:
    engine = LocalEngine([tiny_bundle("blur")], threads=1)
    yield engine
    engine.drain().result(SECONDS)


def _movie(frames: int, planes: int) -> list[FrameTask]:
    """A field that dies, comes back and jumps, so that the judges have something to remember."""
    rng = np.random.default_rng(5)
    field = np.clip(rng.normal(1, 1.5, SHAPE), 0, None)
    field = np.repeat(np.repeat(field[::4, ::4], 4, 0), 4, 1)
    tasks = []
    for seq in range(frames):
        t, z = divmod(seq, planes)
        dead = frames // 3 <= seq < frames // 2
        scene = np.zeros_like(field) if dead else np.roll(field, (seq % 7 == 3) * 5, 0)
        tasks.append(FrameTask(seq, rng.poisson(scene * 20 + 1).astype(np.uint16), t, (0, z, 0)))
    return tasks


def _run(engine: Engine, stream: str, tasks: list[FrameTask]) -> list[EngineResult]:
    futures = [engine.submit(stream, task) for task in tasks]
    return [future.result(SECONDS) for future in futures]


def _said(result: EngineResult) -> dict[str, Any]:
    """All of a result that no clock decides."""
    fields = (
        "seq",
        "status",
        "flag",
        "reason",
        "ssim_prev",
        "compared_seq",
        "fractions",
        "quality",
        "model_sha256",
    )
    said = {name: getattr(result, name) for name in fields}
    said["quality"] = None if result.quality is None else asdict(result.quality)
    return said | {"counts": result.counts, "plane": asdict(result.plane) if result.plane else None}


def _history(results: list[EngineResult], next_seq: int) -> ResumeState:
    """What a journal would hold before `next_seq`: through JSON, as there."""
    last: dict[Any, PlaneRecord] = {}
    counts = Counts()
    for result in results[:next_seq]:
        assert result.plane is not None
        assert result.counts is not None
        last[result.plane.plane] = replace(result.plane, judge=json.loads(json.dumps(result.plane.judge)))
        counts = result.counts
    return ResumeState(next_seq, tuple(last.values()), counts, THRESHOLDS)


@pytest.mark.parametrize("planes", [1, 3])
def test_nobody_can_tell_where_it_was_broken_off(engine: Engine, planes: int) -> None:
    tasks = _movie(36, planes)
    whole = engine.open(SPEC, _history([], 0))
    undisturbed = _run(engine, whole, tasks)
    engine.close(whole).result(SECONDS)
    assert len({result.flag for result in undisturbed}) == 3, (
        "a movie in which nothing happens proves nothing"
    )
    for cut in range(0, len(tasks) + 1, 5 if planes == 1 else 7):
        resume_state = _history(undisturbed, cut)
        stream = engine.open(SPEC, resume_state)
        for record in resume_state.planes:
            engine.restore_reference(stream, tasks[record.seq])
        again = _run(engine, stream, tasks[cut:])
        for before, after in zip(undisturbed[cut:], again, strict=True):
            assert _said(after) == _said(before)
            np.testing.assert_array_equal(after.pixels, before.pixels)
            np.testing.assert_array_equal(after.support, before.support)
        assert engine.close(stream).result(SECONDS) == undisturbed[-1].counts


def test_a_plane_that_was_not_brought_again_is_unjudged_and_says_so(engine: Engine) -> None:
    tasks = _movie(6, 1)
    whole = engine.open(SPEC, _history([], 0))
    undisturbed = _run(engine, whole, tasks)
    engine.close(whole).result(SECONDS)
    stream = engine.open(SPEC, _history(undisturbed, 4))
    result, after = _run(engine, stream, tasks[4:])
    assert (result.flag, result.ssim_prev) == ("unjudged", None)
    assert result.reason == "the previous frame 3 was not sent again for the comparison"
    np.testing.assert_array_equal(result.pixels, undisturbed[4].pixels)
    assert after.ssim_prev == undisturbed[5].ssim_prev
    engine.close(stream).result(SECONDS)


def test_only_the_last_frame_of_a_plane_can_be_brought_again_and_once(engine: Engine) -> None:
    tasks = _movie(6, 1)
    whole = engine.open(SPEC, _history([], 0))
    undisturbed = _run(engine, whole, tasks)
    stream = engine.open(SPEC, _history(undisturbed, 4))
    with pytest.raises(errors.NotWaitedFor, match="frame 2 of plane"):
        engine.restore_reference(stream, tasks[2])
    with pytest.raises(errors.WrongShape):
        engine.restore_reference(stream, replace(tasks[3], pixels=tasks[3].pixels[1:]))
    engine.restore_reference(stream, tasks[3])
    with pytest.raises(errors.NotWaitedFor):
        engine.restore_reference(stream, tasks[3])
    with pytest.raises(errors.NotWaitedFor):
        engine.restore_reference(whole, tasks[5])
    for open_stream in (whole, stream):
        engine.close(open_stream).result(SECONDS)
