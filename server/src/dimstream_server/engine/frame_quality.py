"""The quality metrics of a frame on this device: the engine's part of `dimstream_models.judging.assess`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dimstream_client.quality import Forecast, QualityMetrics, SplitResult
from dimstream_models.judging import (
    Agreement,
    Assessment,
    Conditions,
    Criteria,
    FlagDecision,
    Measures,
    PreviousFrame,
    RawFindings,
    assess,
)
from dimstream_models.quality.alignment import Overview, Shift
from dimstream_server.engine.loading import LoadedModel
from dimstream_server.engine.protocol import FrameTask
from dimstream_server.engine.stream_state import StreamState
from dimstream_server.pipeline.fused_model import FusedOutput


@dataclass(frozen=True, slots=True, eq=False)
class AssessedFrame:
    """The flag of a frame, its metrics, and its support map on the device."""

    decision: FlagDecision
    quality: QualityMetrics
    support: Any


@dataclass(frozen=True, slots=True, eq=False)
class _FrameOnDevice:
    """A denoised frame for `dimstream_models.judging`; its prediction remains on the device."""

    photons: NDArray[Any]
    recorded: NDArray[Any]
    raw_findings: RawFindings
    output: FusedOutput
    model: LoadedModel

    @property
    def denoised(self) -> NDArray[Any]:
        return self.output.denoised

    @property
    def overview(self) -> Overview:
        return self.output.overview

    @property
    def support(self) -> Any:
        return self.output.support

    @property
    def measures(self) -> Measures:
        return self.output.measures

    def ssim_shifted(self, before: Any, shift: Shift) -> float:
        return self.model.aligner.ssim(before, self.output.normalised, shift)

    def compare_halves(self, first: NDArray[Any], second: NDArray[Any]) -> Agreement[Any]:
        assert self.model.split_check is not None  # always loaded for streams whose photons are split
        return self.model.split_check.compare(first, second, self.output)


def assess_on_device(
    state: StreamState,
    task: FrameTask,
    model: LoadedModel,
    output: FusedOutput,
    raw_findings: RawFindings,
    compared: PreviousFrame | None,
    not_comparable: str | None,
    *,
    recorded: NDArray[Any],
) -> AssessedFrame:
    """Collect the metrics of a frame, and decide its flag.

    Parameters
    ----------
    task : FrameTask
        The frame, with photons as its pixels.
    raw_findings : RawFindings
        What these photons show by themselves.
    compared : PreviousFrame or None
        The frame with which `output.measures.ssim` was calculated; None when `not_comparable` is given.
    recorded
        (H, W), its photons before they were moved to finer pixels, if they were.

    Raises
    ------
    FrameFailed
        When ONNX Runtime fails in a comparison.
    """
    judge = state.judges[task.plane]
    frame = _FrameOnDevice(task.pixels, recorded, raw_findings, output, model)
    found = assess(
        judge,
        frame,
        compared,
        _conditions(state, model),
        seq=task.seq,
        t=task.t,
        not_comparable=not_comparable,
    )
    quality = QualityMetrics(
        ssim_aligned=found.metrics.ssim_aligned,
        correlation=found.metrics.correlation,
        shift_px=_on_recorded_pixels(found.shift, state.parts),
        ssim_z=_similarity_in_depth(state, task, model, output),
        p_signal=found.decision.p_signal,
        p_dark=found.decision.p_dark,
        structure_score=found.metrics.structure_score,
        unsupported_fraction=found.unsupported_fraction,
        suspect_since=judge.suspect_since,
        notes=found.decision.notes,
        split=_split_result(found),
        forecast=_forecast(found.decision, state.spec.frame_interval_s),
    )
    return AssessedFrame(found.decision, quality, found.support)


def _conditions(state: StreamState, model: LoadedModel) -> Conditions:
    """Return the conditions of a stream's frames; they are cached until they change."""
    only_plane = len(state.planes) == 1
    if state.conditions is not None:
        in_force, known = state.conditions
        if in_force is state.in_force and known.only_plane == only_plane:
            return known
    made = _conditions_now(state, model, only_plane=only_plane)
    state.conditions = state.in_force, made
    return made


def _conditions_now(state: StreamState, model: LoadedModel, *, only_plane: bool) -> Conditions:
    spec = state.spec
    return Conditions(
        criteria=Criteria.of(state.in_force.model.bundle, state.in_force.thresholds),
        window=model.fused.bundle.ssim.window,
        split_every=spec.split_every,
        ceiling=spec.ceiling,
        denoised_ceiling=model.fused.bundle.ceiling(spec.out_dtype),
        frame_interval_s=spec.frame_interval_s,
        detector=spec.detector,
        only_plane=only_plane,
        pixel_size_nm=None if spec.pixel_size_um is None else 1e3 * spec.pixel_size_um / state.parts,
    )


def _on_recorded_pixels(shift: Shift | None, parts: int) -> Shift | None:
    return None if shift is None else (round(shift[0] / parts), round(shift[1] / parts))


def _forecast(decision: FlagDecision, frame_interval_s: float | None) -> Forecast | None:
    left = decision.left
    if left is None:
        return None
    frames, earliest, latest = (round(one, 1) for one in left)
    minutes = None if frame_interval_s is None else frames * frame_interval_s / 60
    return Forecast(frames, earliest, latest, minutes)


def _split_result(found: Assessment[Any]) -> SplitResult | None:
    split = found.split
    return None if split is None else SplitResult(split.t_ms, found.metrics.split_ssim, split.refused)


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
