"""What the engine says, in the words of DIM1 and of HTTP's reports."""

import math
from typing import Any

import numpy as np

from dimstream_client.messages import Fractions, Model, QualityMetrics, SplitResult, Times
from dimstream_client.messages import Thresholds as WireThresholds
from dimstream_server.engine import protocol
from dimstream_server.engine.protocol import EngineResult, ModelInfo
from dimstream_server.pipeline.flags import Thresholds


def wire_model(model: ModelInfo) -> Model:
    """The model as OPENED and UPDATED name it."""
    return Model(id=model.id, sha256=model.sha256, gain=model.gain, offset=model.offset)


def wire_thresholds(thresholds: Thresholds) -> WireThresholds:
    """The thresholds as OPENED and UPDATED name them."""
    return WireThresholds(
        ssim=thresholds.ssim,
        background_max=thresholds.background_max,
        signal_min=thresholds.signal_min,
        structure_score=thresholds.structure_score,
        split=thresholds.split,
    )


def wire_fractions(fractions: protocol.Fractions | None) -> Fractions | None:
    """The shares of a raw frame's pixels."""
    if fractions is None:
        return None
    return Fractions(fractions.background, fractions.uncertain, fractions.signal)


def wire_times(result: EngineResult) -> Times:
    """Milliseconds in the queue, in the model and in all."""
    return Times(round(result.queue_ms, 3), round(result.infer_ms, 3), round(result.total_ms, 3))


def wire_quality(quality: protocol.QualityMetrics | None) -> QualityMetrics | None:
    """What speaks for and against a frame; numbers that JSON cannot hold are told as nothing or as 0."""
    if quality is None:
        return None
    return QualityMetrics(
        structure_score=_finite(quality.structure_score),
        unsupported_fraction=_finite(quality.unsupported_fraction),
        ssim_aligned=wire_ssim(quality.ssim_aligned),
        correlation=wire_ssim(quality.correlation),
        shift_px=quality.shift_px,
        ssim_z=wire_ssim(quality.ssim_z),
        p_signal=quality.p_signal,
        p_dark=quality.p_dark,
        suspect_since=quality.suspect_since,
        notes=quality.notes,
        split=_wire_split(quality.split),
    )


def wire_ssim(ssim: float | None) -> float | None:
    """SSIM within -1 and 1, which rounding may leave; None when it is no number."""
    if ssim is None or not math.isfinite(ssim):
        return None
    return min(max(ssim, -1.0), 1.0)


def _wire_split(split: protocol.SplitResult | None) -> SplitResult | None:
    if split is None:
        return None
    return SplitResult(t_ms=round(split.t_ms, 3), ssim=wire_ssim(split.ssim), refused=split.refused)


def _finite(value: Any) -> float:
    """0 for NaN, the largest float32 for infinity: float32 frames may hold counts beyond any measure."""
    return float(np.nan_to_num(np.float32(value))) if not math.isfinite(value) else float(value)
