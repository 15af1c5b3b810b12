"""Read rules and limits from a TOML or YAML file, with strict checks."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Callable, Final, NoReturn

from dimstream_client.errors import ArgumentError, Code
from dimstream_client.feedback.actions import ACTIONS, Change, Limits
from dimstream_client.feedback.advisor import Rule
from dimstream_client.feedback.conditions import CONDITIONS
from dimstream_client.feedback.observations import EXPOSURE
from dimstream_client.header_checks import short

_LARGEST_FILE: Final = 1 << 20
_MOST_FRAMES: Final = 1_000_000


@dataclass(frozen=True)
class RuleSet:
    """Content of a file of rules."""

    rules: tuple[Rule, ...]
    limits: Limits | None = None


def read_rules(path: str | os.PathLike[str]) -> RuleSet:
    """Return the rules and limits of a ``.toml``, ``.yaml`` or ``.yml`` file.

    Raises
    ------
    ArgumentError
        When the file cannot be read or does not follow docs/feedback.md; for YAML (before Python 3.11 also
        TOML) also without the extra ``micromanager``.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ArgumentError(Code.BAD_FIELD, f"{file} cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST_FILE:
        _refuse(f"{file}", f"at most {_LARGEST_FILE} bytes of rules")
    try:
        return rules_of(_parsed(file, content))
    except ArgumentError as error:
        raise ArgumentError(error.code, f"{file}: {error.detail}") from None


def _parsed(file: Path, content: bytes) -> Any:
    kind = file.suffix.lower()
    if kind not in (".toml", ".yaml", ".yml"):
        _refuse("the file", "a name that ends in .toml, .yaml or .yml")
    try:
        return _toml(content) if kind == ".toml" else _yaml(content)
    except ModuleNotFoundError as error:
        detail = f'this needs {error.name}: pip install "dimstream-client[micromanager]"'
        raise ArgumentError(Code.BAD_FIELD, detail) from error


def _toml(content: bytes) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(content.decode())
    except ValueError as error:
        _refuse("the file", f"TOML ({error})")


def _yaml(content: bytes) -> Any:
    import yaml

    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        _refuse("the file", f"YAML ({' '.join(str(error).split())})")


def rules_of(content: Any) -> RuleSet:
    """Return the rules and limits of parsed text.

    Raises
    ------
    ArgumentError
    """
    _check_keys("the file", content, ("rule", "limits"))
    given = content.get("rule")
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        _refuse("the file", "at least one [[rule]]", given)
    rules = tuple(_rule(n, one) for n, one in enumerate(given, start=1))
    return RuleSet(rules, _limits(content["limits"]) if "limits" in content else None)


def _rule(number: int, given: Any) -> Rule:
    where = f"rule {number}"
    if not isinstance(given, Mapping):
        _refuse(where, "a table with when and then", given)
    condition = _kind(where, "when", given, {one.KIND: one for one in CONDITIONS})
    action = _kind(where, "then", given, {one.KIND: one for one in ACTIONS})
    of_condition = [one.name for one in fields(condition)]
    of_action = [one.name for one in fields(action)]
    _check_keys(where, given, ("name", "when", "then", "wait_frames", *of_condition, *of_action))
    name = given.get("name", f"{number}: {given['when']}, {given['then']}")
    if not isinstance(name, str) or not name:
        _refuse(f"{where}: name", "text", name)
    then = _made(where, action, given)
    if isinstance(then, Change):
        _check_change(where, then)
    wait_frames = _CHECKS["wait_frames"](f"{where}: wait_frames", given.get("wait_frames", 10))
    return Rule(name, _made(where, condition, given), then, wait_frames)


def _kind(where: str, key: str, given: Mapping[str, Any], kinds: Mapping[str, type[Any]]) -> type[Any]:
    kind = given.get(key)
    if not isinstance(kind, str) or kind not in kinds:
        _refuse(f"{where}: {key}", f"one of {', '.join(kinds)}", kind)
    return kinds[kind]


def _made(where: str, kind: type[Any], given: Mapping[str, Any]) -> Any:
    """Return a condition or an action, with all fields checked."""
    values = {}
    for one in fields(kind):
        if one.name in given:
            values[one.name] = _CHECKS[one.name](f"{where}: {one.name}", given[one.name])
        elif one.default is MISSING:
            _refuse(where, f"{one.name}, which {kind.KIND} needs")
    try:
        return kind(**values)
    except ArgumentError as error:
        raise ArgumentError(error.code, f"{where}: {error.detail}") from None


def _check_change(where: str, change: Change) -> None:
    if change.what != EXPOSURE and not all(change.what.partition("/")):
        _refuse(f"{where}: what", f"{EXPOSURE}, or DEVICE/PROPERTY", change.what)
    if change.factor == 1 and change.step == 0:
        _refuse(where, "a factor other than 1, or a step other than 0")


def _limits(given: Any) -> Limits:
    if not isinstance(given, Mapping) or "actions" not in given:
        _refuse("limits", "a table with actions, the most actions in one run", given)
    actions = _count("limits: actions", given["actions"])
    ranges = {}
    for what, value in given.items():
        if what == "actions":
            continue
        if what != EXPOSURE and not all(str(what).partition("/")):
            _refuse("limits", f"actions, {EXPOSURE}, or names DEVICE/PROPERTY", what)
        ranges[what] = _range(f"limits: {what}", value)
    return Limits(actions, ranges)


def _range(where: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        _refuse(where, "[least, largest]", value)
    least, largest = _number(where, value[0]), _number(where, value[1])
    if least > largest:
        _refuse(where, "[least, largest], the least first", value)
    return least, largest


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        _refuse(where, "a finite number", value)
    return float(value)


def _positive(where: str, value: Any) -> float:
    if (number := _number(where, value)) <= 0:
        _refuse(where, "a number above 0", value)
    return number


def _count(where: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_FRAMES:
        _refuse(where, f"an integer from 0 to {_MOST_FRAMES}", value)
    return value


def _frames(where: str, value: Any) -> int:
    if _count(where, value) == 0:
        _refuse(where, "at least 1 frame", value)
    return int(value)


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        _refuse(where, "text", value)
    return value


_CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "frames": _frames,
    "photons": _positive,
    "minutes": _positive,
    "within_frames": _positive,
    "pixels": _positive,
    "what": _text,
    "factor": _positive,
    "step": _number,
    "wait_frames": _count,
}


def _check_keys(where: str, given: Any, known: Sequence[str]) -> None:
    if not isinstance(given, Mapping):
        _refuse(where, f"a table with {', '.join(known)}", given)
    for key in given:
        if key not in known:
            _refuse(where, f"only {', '.join(known)}", key)


def _refuse(where: str, expected: str, *got: Any) -> NoReturn:
    shown = f", got {short(got[0])}" if got else ""
    raise ArgumentError(Code.BAD_FIELD, f"{where}: expected {expected}{shown}")
