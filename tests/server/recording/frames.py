"""Frames whose pixels follow from their number, and the specs that they are recorded with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimstream_client.messages import PlaneIndex
from dimstream_client.quality import Fractions, QualityMetrics, Thresholds, Times
from dimstream_server.engine.protocol import EngineResult, ModelInfo
from dimstream_server.recording import RecordedFrame, Recorder, RecordingSpec

SHAPE = (12, 20)
OPENED_AT = 1_795_000_000.25
FOLDER = "20261118T110640Z_s-7f3a"
THRESHOLDS = Thresholds(ssim=0.6)
MIB = 2**20


def make_recorder(folder: Path, **options: Any) -> Recorder:
    given = {"most_queued_bytes": 64 * MIB, "reserve_bytes": MIB, "warn_bytes": MIB, "fsync": "never"}
    return Recorder(folder, **{**given, **options})


def make_model(**fields: Any) -> ModelInfo:
    values: dict[str, Any] = {
        "id": "er",
        "name": "ER <& light>",
        "sha256": "ab" * 32,
        "gain": 3.0,
        "offset": 1.0,
        "thresholds": THRESHOLDS,
        "description": "",
        "bundle": None,
    }
    return ModelInfo(**{**values, **fields})


def make_spec(**fields: Any) -> RecordingSpec:
    values: dict[str, Any] = {
        "stream": "s-7f3a",
        "model": make_model(),
        "thresholds": THRESHOLDS,
        "shape": SHAPE,
        "in_dtype": "uint16",
        "opened_at": OPENED_AT,
        "pixel_size_um": 0.02,
        "frame_interval_s": 0.6,
        "channels": ("SiR-ER <1>", "DNA"),
        "client": "labview",
        "user": "amira",
    }
    return RecordingSpec(**{**values, **fields})


def raw_pixels(seq: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint16]:
    return np.random.default_rng(seq).integers(0, 60_000, shape).astype(np.uint16)


def denoised_pixels(seq: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint16]:
    return raw_pixels(seq, shape) // 2 + 1


def make_frame(
    seq: int,
    index: PlaneIndex | None = None,
    *,
    failed: bool = False,
    shape: tuple[int, int] = SHAPE,
    **fields: Any,
) -> RecordedFrame:
    result = EngineResult(
        seq=seq,
        status="failed" if failed else "done",
        flag="unjudged" if failed else "ok",
        reason="the model failed" if failed else None,
        ssim_prev=None if failed else 1.0,
        compared_seq=seq - 1 if seq and not failed else None,
        fractions=None if failed else Fractions(0.5, 0.25, 0.25),
        pixels=None if failed else denoised_pixels(seq, shape),
        model_id="er",
        model_sha256="ab" * 32,
        t_ms=Times(0.123, 5.0, 5.2),
        error="NaN" if failed else None,
        quality=None
        if failed
        else QualityMetrics(structure_score=float("inf"), unsupported_fraction=0.1, notes=("moved",)),
    )
    values: dict[str, Any] = {
        "raw": raw_pixels(seq, shape),
        "result": result,
        "index": PlaneIndex(t=seq) if index is None else index,
        "t_acq": OPENED_AT + 0.6 * seq,
        "meta": {"laser_mw": 0.5},
        "gain": 3.0,
        "offset": 1.0,
    }
    return RecordedFrame(**{**values, **fields})
