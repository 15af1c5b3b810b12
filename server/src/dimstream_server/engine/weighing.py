"""What speaks for and against a frame that was denoised, gathered from the frame itself and its
neighbours."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from dimstream_models.evidence.alignment import Shift, correlation_between, shift_between
from dimstream_models.evidence.counting import Doubt, doubt_counts
from dimstream_models.evidence.outliers import has_outlier
from dimstream_models.evidence.saturation import clipped_share, saturated_share
from dimstream_models.judging import Evidence, Judgement
from dimstream_server.engine.loading import LoadedModel
from dimstream_server.engine.protocol import FrameTask, StreamSpec, Trust, WitnessResult
from dimstream_server.engine.streams import StreamState
from dimstream_server.pipeline.comparison import Testimony
from dimstream_server.pipeline.flags import Remembered, criteria_of, gap_before
from dimstream_server.pipeline.fused_model import FusedOutput

UNMOVED: Final[Shift] = (0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """The judgement of a frame, what it rests on, and its support map on the device."""

    judgement: Judgement
    trust: Trust
    support: Any


def weigh(
    state: StreamState,
    task: FrameTask,
    model: LoadedModel,
    output: FusedOutput,
    compared: Remembered | None,
    obstacle: str | None,
) -> Weighed:
    """Gather the evidence on a frame and judge it.

    Parameters
    ----------
    task : FrameTask
        With photons as its pixels.
    compared : Remembered or None
        What `output.measures.ssim` was taken with; None when there was an `obstacle`.

    Raises
    ------
    FrameFailed
        ONNX Runtime raised on a comparison.
    """
    shift, aligned = _aligned(model, output, compared, least=state.in_force.thresholds.structure)
    testimony, spent_ms = _testimony(state, task, model, output)
    source = output.measures if testimony is None else testimony
    gap, steps = _gap(state, task, compared)
    measured = Evidence(
        obstacle=obstacle,
        ssim=None if compared is None else output.measures.ssim,
        ssim_aligned=aligned,
        shift=shift or UNMOVED,
        correlation=_correlation(compared, output, shift or UNMOVED),
        minimum=output.measures.minimum,
        maximum=output.measures.maximum,
        background=output.measures.background,
        structure=output.measures.structure,
        saturated=_saturated(state.spec, task, output),
        split_refused=None if testimony is None else testimony.refused,
        doubt=_doubt(state, task),
        clipped=clipped_share(output.denoised, model.fused.ceiling),
        outlier=has_outlier(task.pixels),
        unsupported=source.unsupported,
        split_ssim=None if testimony is None else testimony.ssim,
        gap=gap,
        frame_interval_s=None if state.spec.frame_interval_s is None else state.spec.frame_interval_s * steps,
    )
    judgement = _judged(state, task, measured)
    trust = Trust(
        ssim_aligned=aligned,
        correlation=measured.correlation,
        shift_px=shift,
        ssim_z=_similarity_in_depth(state, task, model, output),
        p_signal=judgement.p_signal,
        p_dark=judgement.p_dark,
        structure=measured.structure,
        unsupported=measured.unsupported if judgement.structure_seen else 1.0,
        suspect_since=state.judges[task.plane].suspect_since,
        notes=judgement.notes,
        witness=None if testimony is None else WitnessResult(testimony.ssim, testimony.refused, spent_ms),
    )
    return Weighed(judgement, trust, output.support if testimony is None else testimony.support)


def _judged(state: StreamState, task: FrameTask, measured: Evidence) -> Judgement:
    criteria = criteria_of(state.in_force.model.bundle, state.in_force.thresholds)
    judge = state.judges[task.plane]
    return judge.judge(task.seq, measured, criteria, witness_every=state.spec.witness_every)


def _gap(state: StreamState, task: FrameTask, compared: Remembered | None) -> tuple[str | None, int]:
    if compared is None:
        return None, 1
    return gap_before(compared, seq=task.seq, t=task.t, only_plane=len(state.planes) == 1)


def _doubt(state: StreamState, task: FrameTask) -> Doubt | None:
    """What speaks against photon counts; offset and gain are looked for when it is first found."""
    detector = state.spec.detector
    doubt = doubt_counts(task.pixels, converted=detector is not None)
    if doubt is None or state.judges[task.plane].not_photons is not None:
        return doubt
    return doubt.proposing(task.pixels, detector)


def _aligned(
    model: LoadedModel, output: FusedOutput, compared: Remembered | None, *, least: float
) -> tuple[Shift | None, float | None]:
    """Shift since the frame before and SSIM once it is taken out; of a frame without structure neither."""
    if compared is None or compared.overview is None or not output.measures.structure >= least:
        return None, None
    shift = shift_between(compared.overview, output.overview)
    if shift == UNMOVED:
        return shift, output.measures.ssim
    if not _overlaps(output, model, shift):
        return None, None
    return shift, model.aligner.ssim(compared.normalised, output.normalised, shift)


def _correlation(compared: Remembered | None, output: FusedOutput, shift: Shift) -> float | None:
    if compared is None or compared.overview is None:
        return None
    return correlation_between(compared.overview, output.overview, shift)


def _overlaps(output: FusedOutput, model: LoadedModel, shift: Shift) -> bool:
    """Whether a window of SSIM fits into what both frames show."""
    sides = zip(output.denoised.shape, shift, strict=True)
    least = model.fused.bundle.ssim.window
    return all(side - abs(moved) >= least for side, moved in sides)


def _similarity_in_depth(
    state: StreamState, task: FrameTask, model: LoadedModel, output: FusedOutput
) -> float | None:
    channel, z, position = task.plane
    above = state.planes.get((channel, z - 1, position))
    if above is None or above.normalised is None or above.t != task.t:
        return None
    if above.shape != state.spec.shape or above.model_sha256 != state.in_force.model.sha256:
        return None
    return model.aligner.ssim(above.normalised, output.normalised)


def _testimony(
    state: StreamState, task: FrameTask, model: LoadedModel, output: FusedOutput
) -> tuple[Testimony | None, float]:
    """What the split photons say, and the milliseconds that it took; None for frames that are not asked."""
    every = state.spec.witness_every
    if model.witness is None or not every or task.t % every:
        return None, 0.0
    started = time.perf_counter()
    testimony = model.witness.testify(
        task.pixels, output, seed=task.seq, converted=state.spec.detector is not None
    )
    return testimony, (time.perf_counter() - started) * 1e3


def _saturated(spec: StreamSpec, task: FrameTask, output: FusedOutput) -> float:
    measures = output.measures
    return saturated_share(
        maximum=measures.maximum,
        at_maximum=measures.at_maximum,
        near_maximum=measures.near_maximum,
        pixels=task.pixels.size,
        ceiling=spec.ceiling,
    )
