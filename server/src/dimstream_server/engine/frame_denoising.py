"""The answer to one frame: denoise it, assess it, decide its flag, and update the stream's state."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dimstream_client.quality import Fractions, QualityMetrics, Times, fitted
from dimstream_models.judging import FlagName, PreviousFrame, why_not_comparable
from dimstream_models.quality.outliers import without_outliers
from dimstream_models.quality.pixel_size import binned_support
from dimstream_models.quality.support_map import all_unsupported
from dimstream_server.engine.frame_quality import AssessedFrame, assess_on_device
from dimstream_server.engine.loading import LoadedModel
from dimstream_server.engine.pixel_matching import as_recorded, on_finer_pixels
from dimstream_server.engine.protocol import EngineResult, FrameTask, OutDtype
from dimstream_server.engine.raw_frame_thread import RawFrameThread
from dimstream_server.engine.resume_state import PlaneRecord
from dimstream_server.engine.stream_state import NOT_DENOISED, Job, StreamState
from dimstream_server.errors import FrameFailed
from dimstream_server.pipeline.fused_model import FusedOutput

log = logging.getLogger(__name__)

FAILED: Final = "frame failed"
LATE: Final = "it would have missed its deadline, so this is the raw frame"
MOST_LOST: Final = 2  # lost devices after which the frame is assumed to be the cause
RefuseWhenLost = Callable[[FrameFailed], None]
"""Raises DeviceLost if the device, not the frame, caused a failure."""
LABELLED: Final = "labels, not counts: the model classifies pixels, which is not judged"


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """The part of a result that does not depend on time."""

    flag: FlagName
    reason: str | None
    ssim_prev: float | None = None
    compared_seq: int | None = None
    fractions: Fractions | None = None
    pixels: NDArray[Any] | None = None
    quality: QualityMetrics | None = None
    support: NDArray[np.uint8] | None = None
    sd: NDArray[np.float32] | None = None
    error: str | None = None
    fallback: bool = False


def fall_back(state: StreamState, job: Job, *, device: str) -> EngineResult:
    """Return the result of a stream's next frame when there is no time to denoise it: the raw frame."""
    started = time.perf_counter()
    pixels = as_dtype(job.task.pixels, state.spec.out_dtype) if state.spec.deliver_pixels else None
    _remember(state, job.task, None, why_none=NOT_DENOISED)
    state.judges[job.task.plane].lost()
    state.tally.update(("done", "unjudged"))
    return _result(state, job, _Outcome("unjudged", LATE, pixels=pixels, fallback=True), started, device)


def as_dtype(values: NDArray[Any], dtype: OutDtype) -> NDArray[Any]:
    """Return values (H, W) in another pixel type; for uint16 they are rounded and clipped."""
    if dtype == "uint16" and values.dtype == np.float32:
        values = np.clip(np.rint(values), 0, np.iinfo(np.uint16).max)
    return values.astype(dtype)


def answer(
    state: StreamState,
    job: Job,
    model: LoadedModel | Exception,
    beside: RawFrameThread,
    refuse_when_lost: RefuseWhenLost,
    *,
    device: str,
) -> EngineResult:
    """Return the result of a stream's next frame.

    Parameters
    ----------
    model : LoadedModel or Exception
        The stream's model, or the error if it could not be loaded.
    beside : RawFrameThread
        Examines the raw frame while the network runs.
    device : str
        Name of the device, for the result.

    Raises
    ------
    DeviceLost
        When the frame can still be answered on another device: only the judges have changed.
    """
    started = time.perf_counter()
    try:
        if job.lost >= MOST_LOST:
            raise FrameFailed(f"{job.lost} devices were lost while they worked on this frame")
        outcome = _denoise(state, job.task, model, beside)
    except FrameFailed as error:
        refuse_when_lost(error)
        log.warning(
            "frame failed event=frame_failed stream=%s seq=%d reason=%s", state.id, job.task.seq, error
        )
        outcome = _failed(state, job.task, str(error))
    except Exception as error:  # a bug costs one frame, not all streams
        log.exception("fault in the engine event=internal_error stream=%s seq=%d", state.id, job.task.seq)
        outcome = _failed(state, job.task, f"internal error ({type(error).__name__}); see the server's log")
    state.tally.update(("failed" if outcome.error else "done", outcome.flag))
    return _result(state, job, outcome, started, device)


def _denoise(
    state: StreamState, task: FrameTask, model: LoadedModel | Exception, beside: RawFrameThread
) -> _Outcome:
    if isinstance(model, Exception):
        raise FrameFailed(f"the model could not be loaded: {model}") from model
    if model.fused.bundle.classes:
        return _label(state, task, model)
    last = state.planes.get(task.plane)
    not_comparable = _why_not_comparable(state, task, last)
    compared = last if not_comparable is None else None
    previous = None if compared is None else compared.normalised
    recorded = state.spec.photons(task.pixels)
    photons = without_outliers(recorded)
    given = on_finer_pixels(photons, state.parts, seq=task.seq)
    if given is not task.pixels:
        task = replace(task, pixels=given)
    looked_at = beside.look_at(recorded, state.spec.detector)
    output = model.fused.run(task.pixels, previous, state.in_force.thresholds)
    if not output.finite:
        raise FrameFailed("the prediction contains NaN or infinity")
    if state.spec.match_pixel_size:
        output = as_recorded(output, photons, state.parts, ceiling=_ceiling(state, model))
    found = looked_at.result()
    assessed = assess_on_device(
        state, task, model, output, found, compared, not_comparable, recorded=recorded
    )
    _remember(state, task, output)
    measures = output.measures
    return _Outcome(
        flag=assessed.decision.flag,
        reason=assessed.decision.reason,
        ssim_prev=None if compared is None else measures.ssim,
        compared_seq=None if compared is None else compared.seq,
        fractions=Fractions(measures.background, measures.uncertain, measures.signal),
        pixels=output.denoised if state.spec.deliver_pixels else None,
        quality=assessed.quality,
        support=_on_host(assessed, state.parts) if state.spec.deliver_maps else None,
        sd=output.sd,
    )


def _label(state: StreamState, task: FrameTask, model: LoadedModel) -> _Outcome:
    """Return the labels of a frame. SSIM, support and window sums are meaningless for labels, so they are
    left out."""
    output = model.fused.run(state.spec.photons(task.pixels), None, state.in_force.thresholds)
    _remember(state, task, None)
    state.judges[task.plane].lost()
    return _Outcome("unjudged", LABELLED, pixels=output.denoised if state.spec.deliver_pixels else None)


def restore_reference(
    state: StreamState, task: FrameTask, model: LoadedModel | Exception, refuse_when_lost: RefuseWhenLost
) -> None:
    """Denoise a plane's last frame again, because its next frame is compared with it.

    Raises
    ------
    DeviceLost
    """
    if isinstance(model, Exception):
        return  # every frame of the stream reports this error
    try:
        photons = without_outliers(state.spec.photons(task.pixels))
        finer = on_finer_pixels(photons, state.parts, seq=task.seq)
        output = model.fused.run(finer, None, state.in_force.thresholds)
    except FrameFailed as error:
        refuse_when_lost(error)
        log.warning(
            "a reference frame failed event=frame_failed stream=%s seq=%d reason=%s",
            state.id,
            task.seq,
            error,
        )
        return
    last = state.planes[task.plane]
    state.planes[task.plane] = replace(last, normalised=output.normalised, overview=output.overview)


def _on_host(assessed: AssessedFrame, parts: int) -> NDArray[np.uint8]:
    """Return the support map (H, W) uint8; in a frame without structure, all predicted signal is
    unsupported."""
    support = assessed.support
    on_host = support if isinstance(support, np.ndarray) else np.asarray(support.numpy())
    if parts > 1:
        on_host = binned_support(on_host, parts)
    return on_host if assessed.decision.structure_seen else all_unsupported(on_host)


def _ceiling(state: StreamState, model: LoadedModel) -> float | None:
    out_dtype = state.spec.out_dtype
    return model.fused.bundle.ceiling(out_dtype) if out_dtype == "uint16" else None


def _failed(state: StreamState, task: FrameTask, error: str) -> _Outcome:
    _remember(state, task, None)
    state.judges[task.plane].lost()
    return _Outcome("unjudged", FAILED, error=error)


def _why_not_comparable(state: StreamState, task: FrameTask, last: PreviousFrame | None) -> str | None:
    return why_not_comparable(
        last,
        seq=task.seq,
        t=task.t,
        shape=state.spec.shape,
        model_sha256=state.in_force.model.sha256,
        only_plane=len(state.planes) == 1,
    )


def _remember(
    state: StreamState, task: FrameTask, output: FusedOutput | None, *, why_none: str = "failed"
) -> None:
    state.last_seq = task.seq
    state.planes[task.plane] = PreviousFrame(
        seq=task.seq,
        t=task.t,
        shape=state.spec.shape,
        model_sha256=state.in_force.model.sha256,
        normalised=None if output is None else output.normalised,
        overview=None if output is None else output.overview,
        why_none=why_none,
    )


def _result(state: StreamState, job: Job, outcome: _Outcome, started: float, device: str) -> EngineResult:
    finished = time.perf_counter()
    result = EngineResult(
        seq=job.task.seq,
        status="failed" if outcome.error else "done",
        flag=outcome.flag,
        reason=outcome.reason,
        ssim_prev=outcome.ssim_prev,
        compared_seq=outcome.compared_seq,
        fractions=outcome.fractions,
        pixels=outcome.pixels,
        model_id=state.in_force.model.id,
        model_sha256=state.in_force.model.sha256,
        device=device,
        t_ms=Times(
            queue=round((started - job.accepted_at) * 1e3, 3),
            infer=round((finished - started) * 1e3, 3),
            total=round((finished - job.accepted_at) * 1e3, 3),
        ),
        error=outcome.error,
        fallback=None if state.spec.deadline_ms is None else outcome.fallback,
        quality=outcome.quality,
        support=outcome.support,
        sd=outcome.sd,
        plane=PlaneRecord(
            plane=job.task.plane,
            seq=job.task.seq,
            t=job.task.t,
            model_sha256=state.in_force.model.sha256,
            predicted=state.planes[job.task.plane].normalised is not None,
            judge=state.judges[job.task.plane].state(),
            fallback=outcome.fallback,
        ),
        counts=state.counts(),
    )
    return fitted(result)
