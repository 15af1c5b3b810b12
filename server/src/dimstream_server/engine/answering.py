"""The one answer to one frame: denoise it, compare it with its plane's last, judge it, remember it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dimstream_server.engine.protocol import EngineResult, Fractions, FrameTask
from dimstream_server.engine.streams import Job, StreamState
from dimstream_server.errors import FrameFailed
from dimstream_server.pipeline.flags import Flag, Remembered, judge, obstacle
from dimstream_server.pipeline.fused_model import FusedModel, FusedOutput

log = logging.getLogger(__name__)

FAILED = Flag("unjudged", "frame failed")


@dataclass(frozen=True, slots=True, eq=False)
class _Verdict:
    """The part of a result that does not depend on the clock."""

    flag: Flag
    ssim_prev: float | None = None
    compared_seq: int | None = None
    fractions: Fractions | None = None
    pixels: NDArray[Any] | None = None
    error: str | None = None


def answer(state: StreamState, job: Job, model: FusedModel | Exception) -> EngineResult:
    """Result of a stream's next frame.

    Parameters
    ----------
    model : FusedModel or Exception
        The one in force for this stream, or why it could not be made ready.
    """
    started = time.perf_counter()
    try:
        verdict = _denoise(state, job.task, model)
    except FrameFailed as error:
        log.warning("stream %s, frame %d failed: %s", state.id, job.task.seq, error)
        verdict = _failed(state, job.task, str(error))
    except Exception as error:  # a fault of ours costs one frame, not the streams of everybody
        log.exception("stream %s, frame %d met a fault in the engine", state.id, job.task.seq)
        verdict = _failed(state, job.task, f"internal error ({type(error).__name__}); see the server's log")
    state.tally.update(("failed" if verdict.error else "done", verdict.flag.flag))
    return _result(state, job, verdict, started)


def _denoise(state: StreamState, task: FrameTask, model: FusedModel | Exception) -> _Verdict:
    if isinstance(model, Exception):
        raise FrameFailed(f"the model could not be made ready: {model}") from model
    last = state.planes.get(task.plane)
    hindrance = _hindrance(state, task, last)
    compared = last if hindrance is None else None
    thresholds = state.in_force.thresholds
    output = model.run(task.pixels, None if compared is None else compared.normalised, thresholds)
    if not output.finite:
        raise FrameFailed("the prediction holds NaN or infinity")
    _remember(state, task, output)
    measures = output.measures
    similarity = None if compared is None else measures.ssim
    return _Verdict(
        flag=judge(
            obstacle=hindrance,
            ssim=similarity,
            thresholds=thresholds,
            minimum=measures.minimum,
            maximum=measures.maximum,
            background=measures.background,
        ),
        ssim_prev=similarity,
        compared_seq=None if compared is None else compared.seq,
        fractions=Fractions(measures.background, measures.uncertain, measures.signal),
        pixels=output.denoised if state.spec.deliver_pixels else None,
    )


def _failed(state: StreamState, task: FrameTask, error: str) -> _Verdict:
    _remember(state, task, None)
    return _Verdict(FAILED, error=error)


def _hindrance(state: StreamState, task: FrameTask, last: Remembered | None) -> str | None:
    return obstacle(
        last,
        seq=task.seq,
        t=task.t,
        shape=state.spec.shape,
        model_sha256=state.in_force.model.sha256,
        only_plane=len(state.planes) == 1,
    )


def _remember(state: StreamState, task: FrameTask, output: FusedOutput | None) -> None:
    state.last_seq = task.seq
    state.planes[task.plane] = Remembered(
        seq=task.seq,
        t=task.t,
        shape=state.spec.shape,
        model_sha256=state.in_force.model.sha256,
        normalised=None if output is None else output.normalised,
    )


def _result(state: StreamState, job: Job, verdict: _Verdict, started: float) -> EngineResult:
    finished = time.perf_counter()
    return EngineResult(
        seq=job.task.seq,
        status="failed" if verdict.error else "done",
        flag=verdict.flag.flag,
        reason=verdict.flag.reason,
        ssim_prev=verdict.ssim_prev,
        compared_seq=verdict.compared_seq,
        fractions=verdict.fractions,
        pixels=verdict.pixels,
        model_id=state.in_force.model.id,
        model_sha256=state.in_force.model.sha256,
        queue_ms=(started - job.accepted_at) * 1e3,
        infer_ms=(finished - started) * 1e3,
        total_ms=(finished - job.accepted_at) * 1e3,
        error=verdict.error,
    )
