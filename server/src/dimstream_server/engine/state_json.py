"""The resume state of a stream as JSON, between a gateway and its workers; it is checked on arrival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dimstream_client.header_checks import MAX_INTEGER, Refused, thresholds
from dimstream_client.quality import Thresholds, plain
from dimstream_models.judging import PlaneJudge
from dimstream_server.engine.protocol import EngineResult
from dimstream_server.engine.resume_state import Counts, Plane, PlaneRecord, ResumeState

_MOST_PLANES: Final = 4_096
_MOST_ITEMS: Final = 64
_MOST_TEXT: Final = 1_024
_MOST: Final = 1e300
_Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]


class BadState(ValueError):
    """It is not a state of a stream; the text says why."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _CountsModel(_Strict):
    done: _Count = 0
    failed: _Count = 0
    skipped: _Count = 0
    ok: _Count = 0
    suspect: _Count = 0
    unjudged: _Count = 0


class _PlaneModel(_Strict):
    plane: Annotated[list[_Count], Field(min_length=3, max_length=3)]
    seq: _Count
    t: _Count
    model_sha256: Annotated[str, Field(max_length=_MOST_TEXT)]
    predicted: bool
    judge: dict[str, Any]
    fallback: bool = False


class _StateModel(_Strict):
    next_seq: _Count
    counts: _CountsModel
    thresholds: dict[str, Any]
    planes: Annotated[list[_PlaneModel], Field(max_length=_MOST_PLANES)]


class _ResultModel(_Strict):
    predicted: bool
    judge: dict[str, Any]
    counts: _CountsModel


_STATE: Final = TypeAdapter(_StateModel)
_RESULT: Final = TypeAdapter(_ResultModel)


def state_json(state: ResumeState) -> dict[str, Any]:
    """Return a resume state as a JSON object."""
    planes = [
        {
            "plane": list(record.plane),
            "seq": record.seq,
            "t": record.t,
            "model_sha256": record.model_sha256,
            "predicted": record.predicted,
            "judge": record.judge,
            **({"fallback": True} if record.fallback else {}),
        }
        for record in state.planes
    ]
    limits = {name: value for name, value in plain(state.thresholds).items() if value is not None}
    return {
        "next_seq": state.next_seq,
        "counts": asdict(state.counts),
        "thresholds": limits,
        "planes": planes,
    }


def state_of(told: Mapping[str, Any]) -> ResumeState:
    """Return the resume state in a JSON object.

    Raises
    ------
    BadState
    """
    try:
        found = _STATE.validate_python(dict(told))
        limits: Thresholds = thresholds(found.thresholds)
    except (ValidationError, Refused) as error:
        raise BadState(_first_line(error)) from None
    records = tuple(
        PlaneRecord(
            *(_plane(one.plane), one.seq, one.t, one.model_sha256, one.predicted),
            *(_checked_judge(one.judge), one.fallback),
        )
        for one in found.planes
    )
    if len({record.plane for record in records}) < len(records):
        raise BadState("planes: a plane appears twice")
    if any(record.seq >= found.next_seq for record in records):
        raise BadState(f"planes: expected frames before next_seq {found.next_seq}, got a later one")
    return ResumeState(found.next_seq, records, Counts(**found.counts.model_dump()), limits)


def result_json(result: EngineResult) -> dict[str, Any] | None:
    """Return the part of the resume state after a result that is not in the result itself."""
    plane, counts = result.plane, result.counts
    if plane is None or counts is None:
        return None
    return {"predicted": plane.predicted, "judge": plane.judge, "counts": asdict(counts)}


def record_of(
    told: Mapping[str, Any], *, plane: Plane, seq: int, t: int, model_sha256: str
) -> tuple[PlaneRecord, Counts]:
    """Return the state of a stream after the result of a frame, from the `result_json` of a worker.

    Raises
    ------
    BadState
    """
    try:
        found = _RESULT.validate_python(dict(told))
    except ValidationError as error:
        raise BadState(_first_line(error)) from None
    record = PlaneRecord(plane, seq, t, model_sha256, found.predicted, _checked_judge(found.judge))
    return record, Counts(**found.counts.model_dump())


def _plane(told: list[int]) -> Plane:
    channel, z, position = told
    return (channel, z, position)


def _checked_judge(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a judge's state, after checking that it is complete and has the right types."""
    _check_like(PlaneJudge().state(), told, "judge")
    try:
        PlaneJudge.of_state(told)
    except (KeyError, TypeError, ValueError) as error:
        raise BadState(f"judge: {error!r}") from None
    return told


def _check_like(known: Any, told: Any, where: str) -> None:
    """Refuse a value whose structure differs from a judge's initial state."""
    if isinstance(known, dict):
        if not isinstance(told, dict) or told.keys() != known.keys():
            raise BadState(f"{where}: expected an object with {', '.join(known)}")
        for name, value in known.items():
            _check_like(value, told[name], f"{where}.{name}")
    elif isinstance(known, list):
        if not isinstance(told, list) or len(told) > _MOST_ITEMS or not all(map(_is_number, told)):
            raise BadState(f"{where}: expected a list of at most {_MOST_ITEMS} finite numbers")
    elif isinstance(known, bool):
        if not isinstance(told, bool):
            raise BadState(f"{where}: expected true or false")
    elif known is None:
        if not (told is None or _is_number(told) or (isinstance(told, str) and len(told) <= _MOST_TEXT)):
            raise BadState(f"{where}: expected a number, text or null")
    elif not _is_number(told):
        raise BadState(f"{where}: expected a finite number")


def _is_number(told: Any) -> bool:
    return type(told) in (int, float) and -_MOST < told < _MOST


def _first_line(error: ValidationError | Refused) -> str:
    if isinstance(error, Refused):
        return f"thresholds: expected {error}"
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'state'}: {first['msg']}"
