"""What the engine says, in the words of DIM1 and of HTTP's reports."""

import math
from typing import Any

import numpy as np

from dimstream_client.messages import Fractions, Model, Times, Trust, WitnessResult
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
        structure=thresholds.structure,
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


def wire_trust(trust: protocol.Trust | None) -> Trust | None:
    """What speaks for and against a frame; numbers that JSON cannot hold are told as nothing or as 0."""
    if trust is None:
        return None
    return Trust(
        structure=_finite(trust.structure),
        unsupported=_finite(trust.unsupported),
        ssim_aligned=wire_ssim(trust.ssim_aligned),
        correlation=wire_ssim(trust.correlation),
        shift_px=trust.shift_px,
        ssim_z=wire_ssim(trust.ssim_z),
        p_signal=trust.p_signal,
        p_dark=trust.p_dark,
        suspect_since=trust.suspect_since,
        notes=trust.notes,
        witness=_wire_witness(trust.witness),
    )


def wire_ssim(ssim: float | None) -> float | None:
    """SSIM within -1 and 1, which rounding may leave; None when it is no number."""
    if ssim is None or not math.isfinite(ssim):
        return None
    return min(max(ssim, -1.0), 1.0)


def _wire_witness(witness: protocol.WitnessResult | None) -> WitnessResult | None:
    if witness is None:
        return None
    return WitnessResult(t_ms=round(witness.t_ms, 3), ssim=wire_ssim(witness.ssim), refused=witness.refused)


def _finite(value: Any) -> float:
    """0 for NaN, the largest float32 for infinity: float32 frames may hold counts beyond any measure."""
    return float(np.nan_to_num(np.float32(value))) if not math.isfinite(value) else float(value)
