"""The header of each TYPE of DIM1: its fields in the order in which they are written, and what each
accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from dimstream_client import header_checks as checks
from dimstream_client import messages
from dimstream_client.header_checks import Check
from dimstream_client.quality import FrameResult, is_required

__all__ = ["CLASSES", "HEADERS", "NULLABLE", "REQUIRED", "SETTINGS"]

HEADERS: Final[Mapping[str, Mapping[str, Check]]] = {
    "OPEN": {
        "client": checks.text,
        "shape": checks.shape,
        "dtype": checks.dtype,
        "model": checks.text,
        "mode": checks.one_of("lossless", "latest"),
        "axes": checks.text,
        "out_dtype": checks.out_dtype,
        "deliver": checks.one_of("result", "flags"),
        "save": checks.boolean,
        "codecs": checks.codecs,
        "checksum": checks.checksum,
        "window": checks.window,
        "pixel_size_um": checks.positive,
        "frame_interval_s": checks.positive,
        "channels": checks.texts,
        "maps": checks.boolean,
        "sd": checks.boolean,
        "split_every": checks.count,
        "offset": checks.offset,
        "gain": checks.gain,
        "match_pixel_size": checks.boolean,
        "priority": checks.one_of("live", "batch"),
        "weight": checks.weight,
        "deadline_ms": checks.positive,
        "next_result": checks.count,
        "stream": checks.text,
        "resume_token": checks.text,
        "user": checks.text,
    },
    "OPENED": {
        "stream": checks.text,
        "resume_token": checks.text,
        "boot_id": checks.text,
        "next_seq": checks.count,
        "limit": checks.count,
        "reference_frames": checks.count,
        "model": checks.model,
        "thresholds": checks.thresholds,
        "max_frame_bytes": checks.count,
        "lease_s": checks.positive,
        "window": checks.window,
        "codec": checks.codec,
        "checksum": checks.checksum,
        "references": checks.seqs,
        "offset": checks.offset,
        "gain": checks.gain,
    },
    "FRAME": {
        "stream": checks.text,
        "seq": checks.count,
        "index": checks.plane_index,
        "t_acq": checks.number,
        "meta": checks.free,
    },
    "SKIP": {
        "stream": checks.text,
        "seq_from": checks.count,
        "seq_to": checks.count,
        "reason": checks.text,
    },
    "RESULT": {
        "stream": checks.text,
        **checks.frame_result,
        "limit": checks.count,
        "index": checks.plane_index,
        "error": checks.problem,
        "state": checks.free,
    },
    "CREDIT": {"stream": checks.text, "limit": checks.count},
    "ACK": {"stream": checks.text, "next_result": checks.count},
    "UPDATE": {
        "stream": checks.text,
        "from_seq": checks.count,
        "model": checks.text,
        "thresholds": checks.new_thresholds,
    },
    "UPDATED": {
        "stream": checks.text,
        "from_seq": checks.count,
        "model": checks.model,
        "thresholds": checks.thresholds,
        "by": checks.text,
    },
    "CLOSE": {"stream": checks.text, "last_seq": checks.count},
    "CLOSED": {
        "stream": checks.text,
        "counts": checks.counts,
        "files": checks.files,
        "error": checks.problem,
    },
    "PING": {"t": checks.number},
    "PONG": {"t": checks.number, "boot_id": checks.text, "queue": checks.count},
    "ERROR": checks.PROBLEM_FIELDS,
}
CLASSES: Final[Mapping[str, type[Any]]] = {name: getattr(messages, name.capitalize()) for name in HEADERS}
REQUIRED: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(f.name for f in fields(CLASSES[name]) if f.name in header and is_required(f))
    for name, header in HEADERS.items()
}
# Null and absent mean the same here, and the message has no default for it.
NULLABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "RESULT": tuple(one.name for one in fields(FrameResult) if str(one.type).endswith("| None"))
}
SETTINGS: Final = frozenset({"OPEN", "UPDATE"})  # a mistyped setting must not pass unnoticed
