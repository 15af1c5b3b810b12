"""The figures of one frame: a row of the timeline, and the header that goes with its pixels."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from dimstream_server.engine.protocol import EngineResult
from dimstream_server.streams import SeenFrame
from dimstream_server.streams.wire_values import wire_fractions, wire_quality, wire_ssim, wire_times

FLAGS: Final = ("ok", "unjudged", "failed", "suspect")
"""What `flag` counts, the worst last; `failed` is the status of a frame that has no flag of its own."""

COLUMNS: Final = {
    "seq": np.dtype("<f8"),
    "time": np.dtype("<f8"),  # t_acq, or when it was answered where the sender gives none; seconds
    "plane": np.dtype("<u2"),  # its place in the stream's list of planes
    "flag": np.dtype("<u1"),
    "ssim": np.dtype("<f4"),  # the better of both, as it is judged
    "correlation": np.dtype("<f4"),
    "structure_score": np.dtype("<f4"),
    "background": np.dtype("<f4"),
    "signal": np.dtype("<f4"),
    "unsupported_fraction": np.dtype("<f4"),
    "intensity": np.dtype("<f4"),  # mean of the raw frame, in units of the detector
    "total_ms": np.dtype("<f4"),
}
Row = tuple[float, ...]
"""One number for each of `COLUMNS`; NaN where there is none."""


def row_of(seen: SeenFrame, *, plane: int, intensity: float, answered_at: float) -> Row:
    """The row of a frame."""
    frame, result = seen.frame, seen.result
    quality, fractions = result.quality, result.fractions
    return (
        frame.seq,
        answered_at if frame.t_acq is None else frame.t_acq,
        plane,
        flag_code(result),
        _ssim(result),
        _number(None if quality is None else quality.correlation),
        _number(None if quality is None else quality.structure_score),
        _number(None if fractions is None else fractions.background),
        _number(None if fractions is None else fractions.signal),
        _number(None if quality is None else quality.unsupported_fraction),
        intensity,
        result.total_ms,
    )


def flag_code(result: EngineResult) -> int:
    """The place in `FLAGS` of what a frame was found to be."""
    return FLAGS.index("failed" if result.status == "failed" else result.flag)


def figures_of(seen: SeenFrame) -> dict[str, Any]:
    """What is known of a frame, in the words of RESULT and FRAME (`docs/wire-protocol.md`)."""
    frame, result = seen.frame, seen.result
    quality, fractions = wire_quality(result.quality), wire_fractions(result.fractions)
    return {
        "seq": frame.seq,
        "index": asdict(frame.index),
        "t_acq": frame.t_acq,
        "status": result.status,
        "flag": result.flag,
        "reason": result.reason,
        "ssim_prev": wire_ssim(result.ssim_prev),
        "compared_seq": result.compared_seq,
        "fractions": None if fractions is None else asdict(fractions),
        "quality": None if quality is None else asdict(quality),
        "model": result.model_id,
        "t_ms": asdict(wire_times(result)),
        "error": result.error,
    }


def _ssim(result: EngineResult) -> float:
    aligned = None if result.quality is None else result.quality.ssim_aligned
    known = [value for value in map(wire_ssim, (result.ssim_prev, aligned)) if value is not None]
    return max(known, default=math.nan)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
