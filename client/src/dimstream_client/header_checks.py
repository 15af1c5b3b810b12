"""Checks of header fields: convert JSON values to message fields, or refuse them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from dimstream_client.errors import Code, Problem
from dimstream_client.messages import Model, PlaneIndex
from dimstream_client.quality import FLAGS, STATUSES, FrameResult, Thresholds, figures

Check = Callable[[Any], Any]

MAX_INTEGER: Final = 2**53 - 1  # the largest integer that every JSON reader keeps exact
MAX_SIDE: Final = 65_535
MAX_TEXT: Final = 1_024
MAX_WINDOW: Final = 1_024
MAX_WEIGHT: Final = 16
MAX_REFERENCES: Final = 4_096
MAX_OFFSET: Final = 1e9
MIN_GAIN: Final = 1e-6
MAX_GAIN: Final = 1e6
DTYPES: Final = ("uint8", "uint16", "float32")
CODECS: Final = ("none", "zlib")
CHECKSUMS: Final = ("none", "crc32")


class Refused(ValueError):
    """A header value that is not allowed."""

    def __init__(self, expected: str, code: str = Code.BAD_FIELD) -> None:
        super().__init__(expected)
        self.code = code


def short(value: Any) -> str:
    """Return `value` as ASCII text for an error message."""
    if isinstance(value, (str, bytes)):
        value = value[:60]
    try:
        shown = ascii(value)
    except (RecursionError, ValueError):  # nested almost too deeply to be decoded, or thousands of digits
        shown = f"a {type(value).__name__} that is too large to be shown"
    return shown if len(shown) <= 60 else shown[:57] + "..."


def text(value: Any) -> str:
    """Accept text of at most 1,024 characters that is valid Unicode."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise Refused(f"text of at most {MAX_TEXT} characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused("text without lone surrogates") from None
    return value


def detail(value: Any) -> str:
    """Accept text of any length that fits into a header."""
    if not isinstance(value, str):
        raise Refused("text")
    return value.encode("utf-8", "replace").decode()


def count(value: Any) -> int:
    """Accept an integer from 0 to 2**53 - 1."""
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise Refused("an integer from 0 to 2^53 - 1")
    return value


def boolean(value: Any) -> bool:
    """Accept true or false."""
    if not isinstance(value, bool):
        raise Refused("true or false")
    return value


def number(value: Any) -> float:
    """Accept a finite number."""
    if type(value) not in (int, float) or not -1e300 < value < 1e300:
        raise Refused("a finite number")
    return float(value)


def positive(value: Any) -> float:
    """Accept a finite number above 0."""
    result = number(value)
    if result <= 0:
        raise Refused("a number above 0")
    return result


def offset(value: Any) -> float:
    """Accept the value of a detector without light, from -1e9 to 1e9."""
    result = number(value)
    if abs(result) > MAX_OFFSET:
        raise Refused(f"a number from -{MAX_OFFSET:g} to {MAX_OFFSET:g}")
    return result


def gain(value: Any) -> float:
    """Accept a detector's units per photon, from 1e-6 to 1e6."""
    result = number(value)
    if not MIN_GAIN <= result <= MAX_GAIN:
        raise Refused(f"a number from {MIN_GAIN:g} to {MAX_GAIN:g} (detector units per photon)")
    return result


def duration(value: Any) -> float:
    """Accept a finite number of at least 0."""
    result = number(value)
    if result < 0:
        raise Refused("a number of at least 0")
    return result


def window(value: Any) -> int:
    """Accept a number of frames from 1 to 1,024."""
    if type(value) is not int or not 1 <= value <= MAX_WINDOW:
        raise Refused(f"an integer from 1 to {MAX_WINDOW}")
    return value


def weight(value: Any) -> int:
    """Accept a stream's weight, 1 to 16."""
    if type(value) is not int or not 1 <= value <= MAX_WEIGHT:
        raise Refused(f"an integer from 1 to {MAX_WEIGHT}")
    return value


def crc32(value: Any) -> int:
    """Accept an unsigned 32-bit integer."""
    if type(value) is not int or not 0 <= value < 2**32:
        raise Refused("an integer from 0 to 2^32 - 1")
    return value


def shape(value: Any) -> tuple[int, int]:
    """Accept [height, width], each from 1 to 65,535."""
    fits = isinstance(value, list) and len(value) == 2
    if not fits or not all(type(side) is int and 1 <= side <= MAX_SIDE for side in value):
        raise Refused(f"[height, width], each an integer from 1 to {MAX_SIDE}", Code.WRONG_SHAPE)
    return value[0], value[1]


def shift(value: Any) -> tuple[int, int]:
    """Accept [rows, columns], each from -65,535 to 65,535."""
    fits = isinstance(value, list) and len(value) == 2
    if not fits or not all(type(part) is int and abs(part) <= MAX_SIDE for part in value):
        raise Refused(f"[rows, columns], each an integer from -{MAX_SIDE} to {MAX_SIDE}")
    return value[0], value[1]


def one_of(*allowed: str, code: str = Code.BAD_FIELD) -> Check:
    """Return a check that accepts the given words only."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise Refused("one of " + ", ".join(allowed), code)
        return value

    return check


def texts(value: Any) -> tuple[str, ...]:
    """Accept a list of at most 64 texts."""
    if not isinstance(value, list) or len(value) > 64:
        raise Refused("a list of at most 64 texts")
    return tuple(text(item) for item in value)


def codecs(value: Any) -> tuple[str, ...]:
    """Accept a list of codec names that contains "none"; unknown names are kept."""
    names = texts(value)
    if "none" not in names:
        raise Refused('a list of codec names that holds "none"', Code.BAD_CODEC)
    return names


def seqs(value: Any) -> tuple[int, ...]:
    """Accept a list of at most 4,096 sequence numbers."""
    if not isinstance(value, list) or len(value) > MAX_REFERENCES:
        raise Refused(f"a list of at most {MAX_REFERENCES} integers")
    return tuple(count(item) for item in value)


def free(value: Any) -> Mapping[str, Any]:
    """Accept any JSON object that can be written as JSON."""
    if not isinstance(value, dict):
        raise Refused("a JSON object")
    if value:
        try:
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise Refused("a JSON object of finite numbers, valid texts and shallow nesting") from None
    return value


def counts(value: Any) -> Mapping[str, int]:
    """Accept a JSON object of counts."""
    if not isinstance(value, dict):
        raise Refused("a JSON object of integers")
    return {text(key): count(item) for key, item in value.items()}


def files(value: Any) -> tuple[Mapping[str, Any], ...]:
    """Accept a list of JSON objects."""
    if not isinstance(value, list):
        raise Refused("a list of JSON objects")
    return tuple(free(item) for item in value)


def record(make: Callable[..., Any], checks: Mapping[str, Check]) -> Check:
    """Return a check that builds `make` from a JSON object; null is the same as absent."""

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise Refused("a JSON object with " + ", ".join(checks))
        given = {}
        for name, inner in checks.items():
            item = value.get(name)
            if item is not None:
                try:
                    given[name] = inner(item)
                except Refused as refusal:
                    raise Refused(f"{name}: {refusal}", refusal.code) from None
        try:
            return make(**given)
        except TypeError:
            raise Refused("a JSON object with " + ", ".join(checks)) from None

    return check


def _is_fraction(value: Any) -> float:
    result = number(value)
    if not -1e-6 <= result <= 1 + 1e-6:
        raise Refused("a number from 0 to 1")
    return result


def ssim(value: Any) -> float:
    """Accept a structural similarity, from -1 to 1."""
    result = number(value)
    if not -1 - 1e-6 <= result <= 1 + 1e-6 or math.isnan(result):
        raise Refused("a number from -1 to 1")
    return result


dtype = one_of(*DTYPES, code=Code.WRONG_DTYPE)
out_dtype = one_of("uint16", "float32", code=Code.WRONG_DTYPE)
codec = one_of(*CODECS, code=Code.BAD_CODEC)
checksum = one_of(*CHECKSUMS)
plane_index = record(PlaneIndex, {"t": count, "c": count, "z": count, "p": count})
model = record(Model, {"id": text, "sha256": text, "gain": number, "offset": number})
KINDS: Final[Mapping[str, Check]] = {
    "boolean": boolean,
    "count": count,
    "duration": duration,
    "flag": one_of(*FLAGS),
    "fraction": _is_fraction,
    "number": number,
    "shift": shift,
    "similarity": ssim,
    "status": one_of(*STATUSES),
    "text": text,
    "texts": texts,
}
"""What the figures of each kind accept; see `dimstream_client.quality.figure`."""


def checks_of(kind: type[Any]) -> dict[str, Check]:
    """Return what each figure of a class accepts."""
    return {one.name: _check_of(one.metadata["kind"]) for one in figures(kind)}


def _check_of(kind: str | type[Any]) -> Check:
    return record(kind, checks_of(kind)) if isinstance(kind, type) else KINDS[kind]


def new_thresholds(value: Any) -> Mapping[str, float]:
    """Accept the thresholds that are to change; null is the same as absent."""
    known = checks_of(Thresholds)
    if not isinstance(value, dict) or not value.keys() <= known.keys():
        raise Refused("a JSON object with only " + ", ".join(known))
    changes = {}
    for name, given in value.items():
        if given is not None:
            try:
                changes[name] = known[name](given)
            except Refused as refusal:
                raise Refused(f"{name}: {refusal}", refusal.code) from None
    return changes


thresholds = record(Thresholds, checks_of(Thresholds))
frame_result: Final = checks_of(FrameResult)
PROBLEM_FIELDS: Final[Mapping[str, Check]] = {
    "type": detail,
    "title": detail,
    "status": count,
    "detail": detail,
    "code": text,
    "retryable": boolean,
    "stream": text,
    "seq": count,
    "expected": free,
}
problem = record(Problem, PROBLEM_FIELDS)
