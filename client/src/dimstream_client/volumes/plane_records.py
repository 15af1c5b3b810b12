"""Read the records of each plane of a z-stack that `dimstream stream` writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dimstream_client.errors import RecordError
from dimstream_client.header_checks import MAX_INTEGER, short
from dimstream_client.messages import PlaneIndex

_REPAIR: Final = "give the lines that `dimstream stream` writes"


@dataclass(frozen=True)
class PlaneRecord:
    """The server's figures of one plane.

    Parameters
    ----------
    flag, reason : str
        `reason` is None when the flag is "ok"; of a frame without a result it says why.
    structure_score, unsupported_fraction : float or None
        Figures of the frame; None if it has no result.
    ssim_above : float or None
        SSIM with the prediction of z - 1 at the same time; None if not compared.
    split_ssim : float or None
        SSIM of the predictions of both halves of the photons; None when they were not split.
    """

    z: int
    flag: str
    reason: str | None
    structure_score: float | None
    unsupported_fraction: float | None
    ssim_above: float | None
    split_ssim: float | None


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file: JSON lines, or the JSON report of the HTTP endpoint.

    Raises
    ------
    RecordError
        When it is neither.
    OSError
    """
    content = path.read_bytes()
    report = _json(content)
    if isinstance(report, dict) and "frames" in report:
        return _of_report(report)
    records = [_json(line) for line in content.splitlines()]
    for n, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise RecordError(
                f"expected JSON objects in the lines of {path}, got none in line {n}; {_REPAIR}"
            )
    return [record for record in records if "event" not in record]  # those of a server's recording


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _of_report(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records of an HTTP report, with the model added to each."""
    frames = report["frames"]
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise RecordError(f"expected a list of objects as `frames`, got {short(frames)}; {_REPAIR}")
    return [{"model_sha256": report.get("model_sha256"), **frame} for frame in frames]


def index_of(record: Mapping[str, Any]) -> PlaneIndex:
    """Return the index of the frame of a record.

    Raises
    ------
    RecordError
    """
    index = record.get("index")
    places: dict[str, Any] = {axis: index.get(axis) for axis in "tczp"} if isinstance(index, Mapping) else {}
    if not places or not all(type(at) is int and 0 <= at <= MAX_INTEGER for at in places.values()):
        raise RecordError(
            f"expected records with an index of t, c, z and p from 0, got {short(index)}; {_REPAIR}"
        )
    return PlaneIndex(**places)


def plane_of(record: Mapping[str, Any]) -> PlaneRecord:
    """Return the figures of the plane of a record.

    Raises
    ------
    RecordError
    """
    at, quality = index_of(record), _object(record, "quality")
    if not quality and record.get("status") == "done":
        raise RecordError(
            f"expected `quality` in the record of {at}, got none: its server is older than the judgement of "
            "volumes; stream the stack by a newer one"
        )
    reason = record.get("error") or record.get("reason")
    return PlaneRecord(
        z=at.z,
        flag=str(record.get("flag", "unjudged")),
        reason=None if reason is None else str(reason),
        structure_score=_number(quality, "structure_score"),
        unsupported_fraction=_number(quality, "unsupported_fraction"),
        ssim_above=_number(quality, "ssim_z"),
        split_ssim=_number(_object(quality, "split"), "ssim"),
    )


def _object(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = members.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise RecordError(f"expected an object or null as `{name}`, got {short(value)}; {_REPAIR}")
    return value or {}


def _number(members: Mapping[str, Any], name: str) -> float | None:
    value = members.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RecordError(f"expected a number or null as `{name}`, got {short(value)}; {_REPAIR}")
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond every float
        return None
